"""The error that becomes an HTTP response."""


class Refusal(Exception):
    """A refused request.

    Args:
        status: HTTP status of 400 or more.
        sentence: one sentence for the user.
        retry_after: seconds after which the same request may succeed.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after
