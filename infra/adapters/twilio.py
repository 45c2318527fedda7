"""The carrier Twilio: whether a request is truly its own, and how a call is hung up."""

from collections.abc import Mapping

from twilio.request_validator import RequestValidator


class SignatureCheck:
    """Tells whether Twilio signed a request: `(url, form, signature)`, where `url` is the public address as Twilio wrote it.

    For a request without a form, such as the opening of a media stream, `form` is empty. Source: Twilio, "Webhooks security".
    """

    def __init__(self, auth_token: str) -> None:
        self._validator = RequestValidator(auth_token)

    def __call__(self, url: str, form: Mapping[str, str], signature: str) -> bool:
        return bool(self._validator.validate(url, dict(form), signature))
