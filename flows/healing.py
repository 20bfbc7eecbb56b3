"""Which trouble may be over at another try: a server or the Hub that could not be reached, or had enough to do.

A wrong recipe, a wrong key and our own bugs stay what they are however often they are tried. What an error is, its type
says, and where a library has wrapped it, the chain of its causes.
"""

from collections.abc import Iterator

from flows.child import HealableError

_HEALING_STATUS = {408, 425, 429}  # and every 5xx


def can_heal(error: BaseException) -> bool:
    """Tell whether doing the same again later may work; the first cause that says yes or no decides."""
    for cause in _causes(error):
        if (verdict := _judge(cause)) is not None:
            return verdict
    return False


def _judge(error: BaseException) -> bool | None:
    """Say whether one error heals; None where its type says nothing."""
    import httpx2  # of huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HealableError):
        return True
    # `datasets` raises a plain ConnectionError for HF_HUB_OFFLINE=1, with nothing but the name in its text.
    if isinstance(error, OfflineModeIsEnabled) or OfflineModeIsEnabled.__name__ in str(error):
        return False
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code in _HEALING_STATUS
    if isinstance(error, ConnectionError | TimeoutError | httpx2.TransportError):
        return True
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error to its first cause; an error raised while another was handled is none of its effects."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
