"""What a client is told when something does not work."""


class Refusal(Exception):
    """An answer with an HTTP status of 400 or more and one sentence.

    Args:
        retry_after: seconds after which the same request may work.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after
