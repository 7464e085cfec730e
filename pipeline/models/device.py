"""Where networks work: a device by its name, refused before work is spent."""

from __future__ import annotations

from pipeline.errors import InputError

__all__ = ["check_device"]


def check_device(device: str) -> None:
    """Refuse a device that this process cannot use.

    Raises:
        InputError: If it is no device, or is not there.
    """
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise InputError(
            f"device '{device}' is no device", expected="cpu, cuda or cuda:N"
        ) from None
    if kind == "cuda" and torch.cuda._is_in_bad_fork():
        raise InputError(
            f"device '{device}' cannot be used in a forked process.",
            what_to_do="Give the data loader multiprocessing_context='spawn'.",
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"device '{device}' is not there: torch sees no GPU.", what_to_do="Leave it out."
        )
