"""The one error that those who ask the DNS have to know."""


class ResolutionError(Exception):
    """The DNS gave no usable answer: a server failure, silence or garbage. Always temporary.
    The text names the question and the trouble, in printable ASCII: strangers may have chosen the name."""

    def __init__(self, text: str) -> None:
        super().__init__("".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in text))
