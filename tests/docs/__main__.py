"""``python -m tests.docs``: write anew what the documentation says of the program (``tests.docs.generated``)."""

from tests.docs.generated import ROOT, wanted

for path, text in wanted().items():
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")
