"""A base of one's own, made on the machine that runs it: exported, described, signed by nobody.

Needs numpy and onnx, no torch. What quantising cost is measured where somebody asks for it.
"""

from collections.abc import Callable
from pathlib import Path

from xpm_build.base.export import DEFAULT_BLOCK, export_base, open_checkpoint
from xpm_build.base.fingerprint import fingerprint
from xpm_build.base.text_files import check_chat_template
from xpm_index.archive import MANIFEST
from xpm_index.manifest import Manifest

VERSION = "0.1.0"
DEFAULT_QUANTIZER = "minima"
Report = Callable[[str], None]


def make_local_base(
    source: Path, out: Path, *, name: str, variant: str, quantizer: str, made_of: str, report: Report
) -> None:
    """Make a base of the model in ``source``, a folder or a GGUF file: the same bytes from the same model, always.

    Args:
        out: a new folder, which gets the graphs, the text files and manifest.json.
        made_of: what identifies the source, for the manifest.
    Raises:
        BuildError: the model is not supported, or incomplete.
    """
    checkpoint = open_checkpoint(source)
    configuration = checkpoint.configuration
    report(f"{checkpoint.num_parameters() / 1e6:.0f} million parameters: computing their fingerprint")
    digest = fingerprint(checkpoint, configuration)
    report(f"writing the {variant} graph")
    export_base(checkpoint, out, variant=variant, block=DEFAULT_BLOCK, digest=digest, quantizer=quantizer)
    check_chat_template(out)
    base = {
        "digest": digest,
        "variant": variant,
        "architecture": configuration.model_type,
        "parameters": checkpoint.num_parameters(),
        "vocab_size": configuration.vocab_size,
    }
    manifest = {
        "schema_version": "2.0",
        "kind": "base",
        "name": name,
        "version": VERSION,
        "description": f"Made here of {made_of}",
        "base": base,
    }
    (out / MANIFEST).write_bytes(Manifest(manifest).to_bytes())
