"""``python -m xpm``, and the program ``xpm``: a shell's completion is answered before anything else is imported."""

from xpm.cli.complete import answer


def main() -> None:
    if not answer():
        from xpm.cli.main import main as run

        run()


if __name__ == "__main__":
    main()
