"""The MIME parts of a message, as tests and loops see them (RFC 5703 §3, §4): `mime`, `foreverypart`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from twisted_mta.message.charset import decode_text
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.mime import Part
from twisted_mta.message.parameters import (
    Parameters,
    parameter,
    parse_content_type,
    parse_disposition,
)
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Bound, Command, Extension, Kind, Spec, Tagged
from twisted_mta.sieve.mail import Header
from twisted_mta.sieve.run import Loop, Run

_OPTIONS = ("type", "subtype", "contenttype", "param")


def part_at(root: Part, path: Sequence[int]) -> Part | None:
    """The part that a path leads to, None when there is none (any more)."""
    part = root
    for place in path:
        inside = _inside(part)
        if place >= len(inside):
            return None
        part = inside[place]
    return part


def part_at_hand(run: Run) -> Part:
    """That of the innermost loop; without one, and when it is gone, the message."""
    root = run.mail.structure
    return (part_at(root, run.loops[-1].path) if run.loops else None) or root


def _inside(part: Part) -> list[Part]:
    return [part.message] if part.message is not None else part.children


# The tests header, address and exists


def check(bound: Bound) -> None:
    """Raises SieveError when the tags make no sense."""
    for tag in ("anychild", *_OPTIONS):
        if bound.has(tag) and not bound.has("mime"):
            raise bound.error(f'":{tag}" goes with ":mime"')


def headers(bound: Bound) -> Callable[[Run], Iterable[Header]]:
    """Those that a test looks into: of the message, with :mime of the part at hand, with :anychild of all
    parts within it, too (RFC 5703 §4.1)."""
    if not bound.has("mime"):
        return lambda run: (run.mail,)
    deep = bound.has("anychild")

    def found(run: Run) -> Iterator[Header]:
        data, root = run.mail.data, run.mail.structure
        waiting = [part_at_hand(run)]
        while waiting:
            part = waiting.pop()
            yield run.mail if part is root else Header(data[part.header_start : part.header_end])
            if deep:
                waiting += reversed(_inside(part))

    return found


def values(bound: Bound) -> Callable[[Run, Header, str], list[str]]:
    """What a test asks for of the fields of a name: the text, or a piece of it."""
    option = next((tag for tag in _OPTIONS if bound.has(tag)), "")
    names = bound.texts("param") if option == "param" else ()
    if not option:
        return lambda run, header, name: header.texts(name)

    def found(run: Run, header: Header, name: str) -> list[str]:
        wanted = [text.value(run) for text in names]
        return [piece for raw in header.raw(name) for piece in _pieces(name.lower(), raw, option, wanted)]

    return found


def _pieces(name: str, raw: bytes, option: str, names: list[str]) -> Iterator[str]:
    kind = subtype = ""
    parameters: Parameters = ()
    if name == "content-type":
        if (media := parse_content_type(raw)) is None:
            return
        kind, subtype, parameters = media[0].decode("latin-1"), media[1].decode("latin-1"), media[2]
    elif (token := parse_disposition(raw)) is not None:
        kind, parameters = token[0].decode("latin-1") if name == "content-disposition" else "", token[1]
    if option == "param":
        found = (_parameter_text(parameters, wanted) for wanted in names)
        yield from (text for text in found if text is not None)
    elif option == "contenttype" and subtype:
        yield f"{kind}/{subtype}"
    else:
        yield subtype if option == "subtype" else kind


def _parameter_text(parameters: Parameters, written: str) -> str | None:
    """Its value, whether it is encoded as RFC 2231 or as RFC 2047 wants it."""
    name = written.lower().encode()
    octets = parameter(parameters, name)
    if octets is None:
        return None
    extended = dict(parameters).get(name + b"*")
    if extended is None or name in dict(parameters):
        return decode(octets)
    return decode_text(octets, extended.partition(b"'")[0].decode("latin-1") or "utf-8")


# Loops


class Break(Exception):
    """A loop ends here, the innermost one or that of this name."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop


def _for_every_part(bound: Bound) -> Command:
    """Outside of a loop all parts, the message itself being the first; inside of one those in its part."""
    block, name = bound.block, bound.text("name") if bound.has("name") else None
    assert block is not None

    def execute(run: Run) -> None:
        loop = Loop("" if name is None else name.value(run), (), [()])
        if run.loops:
            loop.path = run.loops[-1].path
            loop.waiting = _paths_inside(run, loop.path)
        run.loops.append(loop)
        try:
            while loop.waiting:
                loop.path, loop.replaced = loop.waiting.pop(), False
                run.step(bound.node.line)
                block(run)
                if not loop.replaced:
                    loop.waiting += _paths_inside(run, loop.path)
        except Break as ended:
            if ended.loop is not loop:
                raise
        finally:
            run.loops.pop()

    return execute


def _paths_inside(run: Run, path: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The last one first."""
    part = part_at(run.mail.structure, path)
    count = 0 if part is None else len(_inside(part))
    return [(*path, place) for place in range(count - 1, -1, -1)]


def _break(bound: Bound) -> Command:
    name = bound.text("name") if bound.has("name") else None

    def execute(run: Run) -> None:
        wanted = "" if name is None else name.value(run)
        for loop in reversed(run.loops):
            if name is None or loop.name == wanted:
                raise Break(loop)
        of_name = f' of the name "{wanted}"' if wanted else ""
        raise RunError(f'"break" without a loop{of_name} around it', bound.node.line)

    return execute


_MIME = (Tagged("mime"), Tagged("anychild"))
_NAME = (Tagged("name", Kind.STRING),)
MIME = Extension(
    "mime",
    tags={
        "header": (
            *_MIME,
            Tagged("type", None, "MIME option"),
            Tagged("subtype", None, "MIME option"),
            Tagged("contenttype", None, "MIME option"),
            Tagged("param", Kind.STRINGS, "MIME option"),
        ),
        "address": _MIME,
        "exists": _MIME,
    },
)
FOR_EVERY_PART = Extension(
    "foreverypart",
    commands=(
        Spec("foreverypart", _for_every_part, (), _NAME, block=True),
        Spec("break", _break, (), _NAME),
    ),
)
