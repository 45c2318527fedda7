"""By which words a sentence shows that it is over, or that it is not: what is known of each language."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final


def words_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEVER: Final = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endings:
    """Words in lower case, without punctuation. A language of which nothing is known has none.

    `trailing`: no sentence ends with these. `alone`, and the `phrases`: all that is said may be made of these. `opening`: a whole answer
    by itself, and as often the beginning of a longer one. `closing`: nothing follows these. `asking`: a question begins with these,
    behind any `leading`, and is a whole one from `shortest_question` words on. `conditions`: what begins with these needs a second half.
    `unfinished`: verbs whose matter comes next, words that stand before what they are about, and beginnings that ask or say nothing yet.
    `back_channels`: a listener's words, with commas between them.
    """

    trailing: frozenset[str] = frozenset()
    alone: frozenset[str] = frozenset()
    phrases: re.Pattern[str] = _NEVER
    opening: frozenset[str] = frozenset()
    closing: frozenset[str] = frozenset()
    asking: frozenset[str] = frozenset()
    leading: frozenset[str] = frozenset()
    shortest_question: int = 4
    conditions: frozenset[str] = frozenset()
    digits: frozenset[str] = frozenset()
    unfinished: re.Pattern[str] = _NEVER
    goodbye: re.Pattern[str] = _NEVER
    back_channels: str = ""


_ENGLISH: Final = Endings(
    trailing=words_of(
        """a about an and any around are as at be because been before between but by can could for from has have how i i'd i'll i'm i've
        if in into is it's its maybe my near of on or our rather should so some than the their there's these those to uh uhm um very
        was we we'd we'll we're well were what what's when where whether which while who whose why will with without would your"""
    ),
    alone=words_of(
        """yes yeah yep yup sure ok okay no nope thanks thank you please bye goodbye hello hi correct right exactly absolutely never mind
        certainly fine not really that's it is that go ahead all"""
    ),
    opening=words_of("yes yeah yep no nope okay ok well sure hello hi sorry"),
    closing=words_of("please thanks goodbye bye"),
    asking=words_of("what what's when where who which how why do does did can could are is may will would have has"),
    leading=words_of("hello hi hey and so but well okay ok yes yeah no sorry oh um uh then"),
    conditions=words_of("although if unless while"),
    digits=words_of("oh zero one two three four five six seven eight nine double"),
    unfinished=re.compile(
        r"\b(?:(?:to|can i|could i|may i|can we|could we|can you|could you|would you|please) (?:ask|book|bring|buy|cancel|change|check|"
        r"find|get|give|have|hear|know|make|mean|move|need|order|put|return|say|see|send|take|tell|think|try|use|want)"
        r"|(?:tell|ask|show|give|send|let|help|remind) (?:me|us|him|her|them)|(?:would|'d|i'd|we'd) (?:like|love|prefer|rather)"
        r"|(?:^|^\w+ )(?:i|we) (?:guess|have|know|mean|need|think|want)|(?:do|does|did|is|was|are|were|would|will) not|\w+n't"
        r"|(?:number|name|address|birthday) is|possible|interested|wondering|is it|is there|are there|are you|do you|did you|have you|i am"
        r"|we are|what kind|how much|how many|how long|how far|how often)$"
    ),
    goodbye=re.compile(
        r"\b(?:bye|goodbye|good bye|see you|have a (?:nice|good) (?:day|one|evening)|that(?:'s| is|'ll be| will be) all|hang up)\b"
    ),
    back_channels=(
        "mm-hm, mhm, mm, hm, hmm, uh-huh, uh, um, ah, aha, oh, yeah, yes, yep, okay, ok, right, all right, alright, sure, i see, got it"
    ),
)

_SPANISH: Final = Endings(
    trailing=words_of(
        """a al ante aquel bajo cada como con contra cual cuando cuyo de del desde donde durante e el en entre estoy fue hacia hasta
        la las le les lo los me mi mis muy ni nuestra nuestro o para pero por porque que se según ser si sin sino sobre soy son su sus
        tan te tras tu tus u un unas unos y eh em este mientras aunque"""
    ),
    alone=words_of(
        """sí si claro vale bueno bien perfecto exacto exactamente correcto no nada gracias adiós hola ok okay ya nunca adelante ninguno
        ninguna entendido perdón señor señora señorita"""
    ),
    phrases=re.compile(
        r"\b(?:así es|buen(?:a|o)s (?:días|noches|tardes)|de acuerdo|de nada|desde luego|eso es|está bien|hasta luego|muchas gracias"
        r"|muy bien|nada más|por favor|por supuesto)\b"
    ),
    opening=words_of("sí si no claro vale bueno bien hola perdón perdone disculpe ok okay ya mire oiga pues entonces"),
    closing=words_of("favor gracias adiós"),
    asking=words_of(
        """qué quién quiénes cuándo dónde adónde cuál cuáles cómo cuánto cuánta cuántos cuántas puede pueden puedo podemos podría podrían
        tiene tienen tenéis hay abren cierran"""
    ),
    leading=words_of(
        """a ah ay bueno buenas buenos con de desde días disculpe e eh en entonces hasta hola mire noches o oiga ok okay para pero perdón
        perdone por pues si sí tardes vale y ya"""
    ),
    shortest_question=3,
    conditions=words_of("aunque cuando mientras si"),
    digits=words_of("cero uno dos tres cuatro cinco seis siete ocho nueve doble"),
    unfinished=re.compile(
        r"(?:\b(?:quiero|querría|quisiera|queremos|necesito|necesitamos|puedo|podría|puede|pueden|podemos|me gustaría|voy a|vamos a|para"
        r"|tengo que|hay que|quería|puede usted) (?:cambiar|comprar|consultar|dar|darme|decir|decirme|encontrar|hablar|hacer|llevar|mandar"
        r"|mover|obtener|pedir|poner|preguntar|programar|reservar|saber|tener|tomar|traer|usar|ver)"
        r"|\b(?:me gustaría|nos gustaría|me encantaría|quisiera|quisiéramos|querría|preferiría|me interesa|me pregunto)"
        r"|^(?:\w+ )?(?<!no )(?:creo|digo|hay|necesito|pienso|puedo|quería|quiero|supongo|tengo|tiene|tienen|voy)"
        r"|\b(?:es posible|qué tipo|qué clase|a qué|de qué|para qué|cuántas|cuántos|no está|no estoy|no soy|o sea)|(?<!\bla )\buna"
        r"|(?<!\bhora )(?<!\bdía )(?<!\bquién )\bes)$"
    ),
    goodbye=re.compile(
        r"\b(?:adiós|hasta (?:luego|pronto|mañana|otra)|nos vemos|chao|chau|que (?:tenga|tengas|pase|pases) (?:un |una )?buen\w*"
        r"|eso es todo|eso sería todo|nada más|cuelgue)\b"
    ),
    back_channels=(
        "mm-hm, mhm, mm, hm, hmm, ajá, uh-huh, ah, eh, oh, sí, si, ya, vale, claro, ok, okay, bueno, bien, muy bien, exacto, correcto, "
        "perfecto, entiendo, entendido, de acuerdo, ya veo, eso es"
    ),
)  # fmt: skip

_KNOWN: Final[Mapping[str, Endings]] = {"en": _ENGLISH, "es": _SPANISH}
_UNKNOWN: Final = Endings()


@cache
def endings_of(language: str) -> Endings:
    """By a tag (BCP 47), of which the language alone counts."""
    return _KNOWN.get(language.partition("-")[0].lower(), _UNKNOWN)
