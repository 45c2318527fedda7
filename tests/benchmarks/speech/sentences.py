"""What callers say on the phone, and where they hesitate: `|` in the midst of a thought, `/` where the thought could have ended."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A turn in the pieces between its pauses; `afterthought[i]`: what stands before pause i could have been all."""

    pieces: tuple[str, ...]
    afterthought: tuple[bool, ...]

    @property
    def text(self) -> str:
        return " ".join(self.pieces)


def line(marked: str) -> Words:
    pieces: list[str] = []
    kinds: list[bool] = []
    rest = marked
    while (at := min((rest.find(mark) for mark in "|/" if mark in rest), default=-1)) >= 0:
        pieces.append(rest[:at].strip())
        kinds.append(rest[at] == "/")
        rest = rest[at + 1 :]
    return Words(pieces=(*pieces, rest.strip()), afterthought=tuple(kinds))


def _lines(text: str) -> tuple[Words, ...]:
    return tuple(line(one) for one in text.strip().splitlines())


# By these the rule on words was made.
KNOWN: Final = _lines(
    """
    I would like to | book a table for | four people please
    can I come on | Friday at half past two
    I need an appointment because | my tooth hurts when I drink something cold
    what are your | opening hours on Saturday
    hello I am calling about the | invoice that I got last week
    could you tell me | if you have anything free tomorrow
    my number is five five five | one two three four
    I think it was um | the second of March
    yes but | not before ten o'clock
    I want to | cancel my appointment for Monday
    how much is | a cleaning without insurance
    we are two adults and | three children
    is it possible to | pay by card
    so my name is | John Smith
    no I meant the | other one in the evening
    can you help me with | a refund for my last order
    I would like to come on Monday / in the morning
    do you have a table for two / tonight if possible
    my tooth | hurts since yesterday
    the table by the window | is it free tonight
    my son | broke his arm
    I need to change my booking / to next Thursday
    what does a room cost / with breakfast
    I will come by car / with my wife
    can you send me the bill / by email
    the heating | has been cold all night
    because of the snow | we could not come
    I have been waiting for | more than an hour
    is there | a bus to the airport
    we need a room for | two nights from Friday
    when are you open
    yes please
    no thank you
    do you speak German
    how long does it take
    where can I park my car
    Tuesday would be fine
    I would like to talk to a person
    that is correct
    what does it cost
    goodbye
    """
)

# A second set, looked at less: some of its misses led to changes of the text rule too, and lines were added, so it is no clean test either.
SECOND: Final = _lines(
    """
    I was wondering whether | you could send me the | papers again
    can we move it to | the week after next
    my daughter has a fever and | I don't know what to do
    which of your | doctors is in on Wednesday
    good morning this is | Mary Miller speaking
    do you know if | the flight is on time
    the order number is | eight four two | seven nine
    it should be around | sixty dollars I think
    well I would rather | have the window seat
    I'd like to speak with | someone about my bill
    how do I | reset my password
    she is allergic to | nuts and milk
    are there any | seats left for Sunday
    my address is | twelve Park Lane in Springfield
    actually the | first one was better
    please tell him that | I will be late
    could I have a room with | a view of the sea
    the light on the front is | blinking red
    I want to return a pair of shoes / they are too small
    are you open tomorrow / or only on weekdays
    I have a question about my bill / the one from May
    the parcel that you sent | never arrived
    my husband | would like to come along
    the man on the phone | told me to call again
    where can I leave my luggage / before I check in
    I would like to order a pizza / with mushrooms and no cheese
    do you have these in blue / in size forty two
    my appointment is at ten / on Tuesday
    for the party we | need about thirty chairs
    last week I | bought a kettle from you
    if it rains | can we sit inside
    the code on the back | says four four nine
    it does not | turn on any more
    is there a doctor in today
    sure go ahead
    not really
    can I pay with a credit card
    what time does the last train leave
    my battery is empty again
    the second one please
    could you repeat that
    I will take it
    thanks that is all
    """
)
