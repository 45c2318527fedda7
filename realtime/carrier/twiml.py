"""The few documents that we answer the carrier with."""

from xml.sax.saxutils import escape, quoteattr

MEDIA_TYPE = "application/xml"
HANG_UP = '<?xml version="1.0" encoding="UTF-8"?><Response><Hangup/></Response>'
_LONGEST_SENTENCE = 4000


# What the carrier's own voice speaks (twilio.com/docs/voice/twiml/say); the first of a language stands for those that are not here.
_SPOKEN = (
    "en-US", "en-AU", "en-CA", "en-GB", "en-IN", "ca-ES", "da-DK", "de-DE", "es-MX", "es-ES", "fi-FI", "fr-FR", "fr-CA", "it-IT",
    "ja-JP", "ko-KR", "nb-NO", "nl-NL", "pl-PL", "pt-BR", "pt-PT", "ru-RU", "sv-SE", "zh-CN", "zh-HK", "zh-TW",
)  # fmt: skip


def say_and_hang_up(sentence: str, language: str = "") -> str:
    """Words in the carrier's own voice, and the end. `language` (BCP 47): of the words; English without it, or where it has no voice."""
    tag = spoken_tag(language)
    said = f'<Say language="{tag}">' if tag else "<Say>"
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{said}{escape(sentence[:_LONGEST_SENTENCE])}</Say><Hangup/></Response>'


def spoken_tag(language: str) -> str:
    """The carrier's tag for a language; empty where it speaks none of that kind."""
    exact = next((tag for tag in _SPOKEN if tag.lower() == language.lower()), "")
    return exact or next((tag for tag in _SPOKEN if tag.partition("-")[0] == language.partition("-")[0].lower()), "")


def connect(media_url: str, token: str, next_url: str, told_at: str) -> str:
    """Open the media stream; when it ends for whatever reason, ask at `next_url` what follows. What becomes of it is told at `told_at`.

    The stream's address has no query string (the carrier's error 31920): the token goes as a parameter.
    """
    return (
        '<?xml version="1.0" encoding="UTF-8"?><Response>'
        f'<Connect><Stream url={quoteattr(media_url)} statusCallback={quoteattr(told_at)} statusCallbackMethod="POST">'
        f'<Parameter name="token" value={quoteattr(token)}/></Stream></Connect>'
        f'<Redirect method="POST">{escape(next_url)}</Redirect></Response>'
    )


def ask_again(url: str, seconds: int) -> str:
    """Nothing yet: be silent for a while, and ask at `url`."""
    pause = f'<Pause length="{seconds}"/>' if seconds else ""
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{pause}<Redirect method="POST">{escape(url)}</Redirect></Response>'
