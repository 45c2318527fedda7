"""A call's story as a person reads it in a terminal: turn by turn, with the stages, the rule, the cost and the proof."""

from collections.abc import Iterator
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from events.calls.talking import Latency, Spent
from events.positions import Position
from events.usage import RatedLine
from infra.apps.story import CallStory, Happening
from projections.calls import Call

_WHO = {"caller": "bold cyan", "agent": "bold green", "tool": "magenta", "line": "dim", "record": "yellow", "fault": "bold red"}
_STAGES = (
    ("turn_decided_ms", "decided"),
    ("recognised_ms", "recognised"),
    ("first_token_ms", "first token"),
    ("first_byte_ms", "first byte"),
    ("on_wire_ms", "on the wire"),
)


_ESTIMATE = " ?"


def render(story: CallStory) -> RenderableType:
    """The whole story. Texts of people are shown as they are: nothing in them is taken for markup."""
    return Group(
        Rule(f"Call {story.call.id}"),
        _head(story),
        Rule("Timeline", style="dim"),
        _timeline(story),
        Rule("Consent, as the log has it", style="dim"),
        _consents(story),
        Rule("Usage and cost", style="dim"),
        _usage(story),
    )


def clock(ms: int | None) -> str:
    """Call time as people read it: minutes, seconds, tenths."""
    if ms is None:
        return ""
    return f"{ms // 60_000:02d}:{ms // 1000 % 60:02d}.{ms % 1000 // 100}"


def money(amount: Decimal, currency: str) -> str:
    """In major units, with as many places as small prices need."""
    text = f"{amount:.6f}"
    return f"{'$' if currency == 'USD' else ''}{text}{'' if currency == 'USD' else ' ' + currency}"


def _head(story: CallStory) -> RenderableType:
    call = story.call
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("caller", Text(f"{story.caller}  →  {story.number}"))
    table.add_row("agent", Text(f"{story.agent_name}, version {call.agent_version} ({call.agent_version_hash[:12]})"))
    engines = ", ".join(name for name in (call.recogniser, call.model_provider, call.voice) if name)
    table.add_row("engines", Text(engines + (", embedded ones standing in" if call.embedded else "")))
    for flag in story.flags:
        table.add_row("flag", Text(f"{flag.name} = {flag.variant}" + (f"  ({flag.description})" if flag.description else "")))
    table.add_row("received", Text(call.received_at.isoformat(timespec="seconds")))
    table.add_row("ended", Text(_ending(call)))
    return table


def _ending(call: Call) -> str:
    if call.end_reason is None:
        return "it goes on"
    by = f" by the {call.ended_by.value}" if call.ended_by else ""
    stage = f", in {call.stage.value}" if call.stage else ""
    return f"{call.end_reason}{by}{stage}, after {clock(call.duration_ms)}, {'billable' if call.billable else 'not billable'}"


def _timeline(story: CallStory) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    turn: int | None = None
    for happening in story.happenings:
        entry = happening.entry
        if entry.turn is not None and entry.turn != turn:
            turn = entry.turn
            table.add_row("", "", Text(f"— turn {turn} —" if turn else "— greeting —", style="dim"))
        # Kept up to a moment, not from it.
        at = clock(entry.ended_ms if entry.kind == "signals-kept" else entry.at_ms)
        late = " (late)" if entry.kind.startswith("late-") else ""
        for who, what in _told(story, happening):
            table.add_row(at, Text(who + late, style=_WHO.get(who, "dim")), what)
            at = ""
    return table


def _told(story: CallStory, happening: Happening) -> Iterator[tuple[str, RenderableType]]:
    entry = happening.entry
    match entry.kind.removeprefix("late-"):
        case "call-received":
            yield "line", Text("rang", style="dim")
        case "call-answered":
            yield "line", Text("answered", style="dim")
        case "disclosure-spoken":
            evidence = entry.evidence.value if entry.evidence else "?"
            words = f"heard whole that an AI is speaking, by {clock(entry.ended_ms)} (attempt {entry.attempt}, {evidence})"
            yield "record", Text(words)
        case "caller-turn":
            yield from _caller(story, happening)
        case "model-chosen":
            yield "", Text(f"rule {entry.rule} chose {entry.logical}: {entry.model}", style="dim")
        case "tool-requested" | "tool-answered":
            yield "tool", _tool(happening)
        case "answer-speculated" | "answer-accounted" | "guardrail-applied" | "context-folded":
            yield "", Text(_thought(happening), style="dim")
        case "agent-turn":
            yield from _agent(story, happening)
        case "agent-interrupted" | "interruption-dismissed":
            yield "caller", _over_the_agent(happening)
        case "engine-failed":
            yield "fault", Text(f"{entry.engine} failed: {entry.reason}")
        case "engine-switched":
            yield "fault", Text(f"{entry.engine} takes over {entry.reason}")
        case "facts-lost":
            yield "fault", Text(f"{entry.count} facts of this call were lost while the log was away")
        case "signals-kept":
            yield "", Text(f"all that the call heard and saw so far is kept, for a re-run: {entry.count} signals", style="dim")
        case "recording-started":
            yield "record", Text(f"● recording, on consent version {entry.consent_version}", style="red")
        case "recording-stopped":
            yield "record", Text(f"■ recording stopped: {entry.reason}")
        case "call-ended":
            yield "line", Text(f"ended: {entry.reason}", style="dim")
        case _:
            yield from _ordered(happening)


def _ordered(happening: Happening) -> Iterator[tuple[str, RenderableType]]:
    """What was ordered from outside, keyed in, or done with what was kept."""
    entry = happening.entry
    match entry.kind.removeprefix("late-"):
        case "recording-listened":
            yield "record", Text(f"{entry.actor} listened: {entry.reason}")
        case "recording-kept":
            # Where each piece lies is for the auditor, not for the story.
            return
        case "agent-heard":
            yield "", Text("what was heard so far is kept, for a worker that may have to go on", style="dim")
        case "call-resumed":
            yield "fault", Text(f"another worker goes on: {entry.reason}")
        case "capture-began":
            yield "line", Text(f"keys are sealed: {entry.reason}", style="dim")
        case "digits-captured":
            yield "caller", Text(f"keyed in {entry.count} digits, which are shown nowhere ({entry.reason})")
        case "transfer-ordered" | "hold-ordered" | "hold-end-ordered" | "hang-up-ordered":
            yield "line", Text(f"{entry.actor}: {entry.kind.removesuffix('-ordered')} ({entry.reason})", style="dim")
        case "call-transferred":
            yield "line", Text(f"put through to {entry.reason}, {happening.words or 'a number that was erased'}")
        case "transfer-failed":
            yield "fault", Text(f"not put through to {entry.reason}")
        case "transfer-leg-changed":
            yield "line", Text(f"the other leg: {entry.reason}" + (f", {entry.count} s" if entry.count else ""), style="dim")
        case "language-changed" | "voice-changed":
            yield "agent", Text(f"goes on in {entry.reason} ({entry.engine})", style="dim")
        case "hold-began":
            yield "line", Text("on hold", style="dim")
        case "hold-ended":
            yield "line", Text(f"no longer on hold: {entry.reason}", style="dim")
        case _:
            yield "line", Text(" ".join(filter(None, (entry.kind, entry.reason))), style="dim")


def spent_on(spent: Spent | None) -> str:
    """Tokens in words; nothing where none were spent."""
    if spent is None or not (read := spent.input_tokens + spent.cache_read_tokens + spent.cache_write_tokens):
        return ""
    return f", {read} tokens read and {spent.output_tokens} written{' (estimated)' if spent.estimated else ''}"


def _thought(happening: Happening) -> str:
    entry = happening.entry
    match entry.kind.removeprefix("late-"):
        case "answer-speculated":
            return f"thought ahead on “{happening.words}”: {entry.reason}{spent_on(entry.spent)}"
        case "answer-accounted":
            return f"the provider's count of the answer that was cut{spent_on(entry.spent)}"
        case "guardrail-applied":
            return f"guardrail {entry.rule}, {entry.reason}: “{happening.words}” was not said"
        case _:
            return f"the context was full: its {entry.count} oldest entries were folded"


def _over_the_agent(happening: Happening) -> RenderableType:
    entry = happening.entry
    if entry.kind.endswith("interruption-dismissed"):
        said = f"“{happening.words}”" if happening.words else "a sound"
        return Text(f"{said} over the agent, who went on at {clock(entry.ended_ms)} ({entry.reason})", style="dim")
    taken = (entry.ended_ms or 0) - (entry.at_ms or 0)
    return Text(f"spoke over the agent, who stopped at {clock(entry.ended_ms)} ({taken} ms)", style="red")


def _caller(story: CallStory, happening: Happening) -> Iterator[tuple[str, RenderableType]]:
    entry = happening.entry
    spoken = story.spoken.get(entry.turn or 0)
    if spoken is not None:
        yield "caller", Text(f"said        {spoken}", style="dim")
    sure = "" if entry.confidence is None else f"  ({entry.confidence:.0%} sure)"
    label = "recognised  " if spoken is not None else ""
    yield "caller", Text.assemble(label, (happening.words or "", "cyan"), (sure, "dim"))


def _tool(happening: Happening) -> RenderableType:
    entry = happening.entry
    if entry.kind.endswith("tool-answered"):
        return Text(f"{entry.tool} {'failed' if entry.failed else 'answered'}  {happening.words}", style="red" if entry.failed else "")
    filler = f"  meanwhile: “{happening.filler}”" if happening.filler else ""
    return Text.assemble(f"{entry.tool} asked  {happening.words}", ("" if entry.idempotent else "  (runs once)", "dim"), (filler, "green"))


def _agent(story: CallStory, happening: Happening) -> Iterator[tuple[str, RenderableType]]:
    entry = happening.entry
    yield "agent", words_heard(happening.words or "", happening.heard or "")
    notes = []
    if entry.evidence is not None and (entry.interrupted or happening.words != happening.heard):
        notes.append(f"cut: heard as far as shown ({entry.evidence.value})")
    if entry.latency is not None and (stages := stages_of(entry.latency)):
        notes.append(stages)
    if story.usage is not None and (cost := story.cost_of(entry.turn or 0)) is not None:
        notes.append(f"cost {money(cost, story.usage.currency or '')}" + _ESTIMATE * story.is_estimate(entry.turn or 0))
    for note in notes:
        yield "", Text(note, style="dim")


def words_heard(said: str, heard: str) -> Text:
    """What the agent said; what of it was not heard is in brackets, dim and struck."""
    if said.startswith(heard):
        return _cut(heard, said[len(heard) :].strip())
    ours, theirs = said.split(), heard.split()
    same = next((at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    if same == len(theirs):
        return _cut(" ".join(ours[:same]), " ".join(ours[same:]))
    return Text.assemble((heard, "green"), ("  generated: " + said, "dim"))


def _cut(heard: str, unheard: str) -> Text:
    # Brackets as well: a terminal may show neither style, and a log shows none.
    return Text.assemble((heard, "green"), *([(" [", "dim"), (unheard, "dim strike"), ("]", "dim")] if unheard else []))


def stages_of(latency: Latency) -> str:
    """The stages of an answer, each from the one moment that the caller feels: the end of their speech."""
    start, named = latency.speech_ended_ms, "end of speech"
    reached = [(getattr(latency, field), name) for field, name in _STAGES if getattr(latency, field) is not None]
    if start is None:
        if not reached:
            return ""
        (start, named), *reached = reached
    return ", ".join([f"{named} {clock(start)}", *(f"{name} {at - start:+d}" for at, name in reached)]) + " ms" * bool(reached)


def _consents(story: CallStory) -> RenderableType:
    if not story.consents:
        return Padding(Text("nothing was allowed or withdrawn", style="dim"), (0, 2))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for word in story.consents:
        said = Text(f"{word.purpose} ")
        said.append("allowed" if word.granted else "withdrawn", style="green" if word.granted else "red")
        said.append(f": {word.evidence}")
        where = Text(place(word.position), style="dim")
        if word.rests_on_it:
            where.append("; the recording rests on it")
        table.add_row(f"{word.at:%H:%M:%S}", said)
        table.add_row("", where)
    return table


def place(position: str) -> str:
    """A position for people: topic, partition, offset and the owner's term."""
    at = Position.parse(position)
    return f"{at.topic} {at.partition}/{at.offset} (term {at.fence.term})"


def _usage(story: CallStory) -> RenderableType:
    usage = story.usage
    if usage is None:
        return Padding(Text("not counted yet", style="dim"), (0, 2))
    currency = usage.currency or ""
    table = Table(box=None, pad_edge=False, show_footer=True)
    total = "" if usage.total is None else money(usage.total, currency) + _ESTIMATE * story.is_estimate()
    table.add_column("what", footer="total", header_style="dim")
    table.add_column("provider", overflow="fold", header_style="dim")
    table.add_column("quantity", justify="right", header_style="dim")
    table.add_column("price each", justify="right", header_style="dim")
    table.add_column("cost", justify="right", footer=total, header_style="dim")
    for line, quantity, amount in _summed(usage.rated):
        provider = line.provider + (" *" if line.embedded else "")
        table.add_row(
            line.meter.value + (f" ({line.purpose})" if line.purpose else ""),
            Text(provider),
            f"{quantity:f}",
            f"{line.unit_price:f}",
            money(amount, currency) + _ESTIMATE * (not story.verified.rate(line.rate)),
        )
    notes = [Text(f"prices: {usage.rate_table}", style="dim")] if usage.rate_table else []
    if any(line.embedded for line in usage.rated):
        notes.append(Text("* an embedded engine stood in, priced as its provider", style="dim"))
    if story.is_estimate():
        notes.append(Text("? an estimate: a price that nobody read at its source", style="dim"))
    notes += [Text(f"no price for {name}; nobody owes it yet", style="yellow") for name in usage.missing]
    return Group(table, *notes)


def _summed(rated: tuple[RatedLine, ...]) -> Iterator[tuple[RatedLine, Decimal, Decimal]]:
    groups: dict[tuple[object, ...], list[RatedLine]] = {}
    for line in rated:
        groups.setdefault((line.meter, line.provider, line.unit_price, line.embedded, line.purpose), []).append(line)
    for lines in groups.values():
        yield lines[0], sum((line.quantity for line in lines), Decimal(0)), sum((line.amount for line in lines), Decimal(0))
