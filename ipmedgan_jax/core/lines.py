"""Lines of output, which stay one line whatever file names are in them."""


def one_line(text: str) -> str:
    """Returns a text with a space in place of each line break: file names may hold these."""
    return " ".join(text.splitlines())


def print_line(text: str) -> None:
    """Prints one line to standard output at once."""
    print(one_line(text), flush=True)
