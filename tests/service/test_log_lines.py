"""The log as people read it."""

import io
import threading
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import FileLogObserver, Logger, LogLevel

from twisted_mta.journey.bus import Journey
from twisted_mta.journey.log import NAMESPACE, LogReader
from twisted_mta.service.log_lines import MOMENT, LineObserver, line_of


def test_one_readable_line_an_event() -> None:
    written = io.StringIO()
    journey = Journey()
    journey.add_reader(LogReader(Logger(NAMESPACE, observer=FileLogObserver(written, line_of))))
    journey.tell("queued", "4f-1", size=812, to="<bob@b.test>", note="two words", empty="")
    journey.tell(
        "login", account="alice@a.test\r\nforged", login='x" account="y', junk="\x1b\x85\u2028\udcff"
    )
    first, second = written.getvalue().splitlines()
    assert first.split(" ", 1)[1] == 'INFO 4f-1: queued size=812 to=<bob@b.test> note="two words"'
    assert second.split(" ", 1)[1] == (
        r'INFO -: login account=alice@a.test\r\nforged login="x\" account=\"y" junk=\x1b\x85\u2028\udcff'
    )
    date = first.split(" ")[0]
    assert len(date) == len("2026-01-31T12:00:00.123+0100")


def event(**values: object) -> dict[str, object]:
    return {
        "log_level": LogLevel.info,
        "log_namespace": "twisted_mta.x",
        "log_time": 0.0,
        "log_format": "{a}",
        **values,
    }


def test_trouble_keeps_its_traceback_on_indented_lines() -> None:
    written = io.StringIO()
    log = Logger("twisted_mta.x", observer=FileLogObserver(written, line_of))
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        log.failure("a {thing} broke", thing="pipe")
    first, *more = written.getvalue().splitlines()
    assert first.endswith("CRITICAL -: a pipe broke")
    assert all(line.startswith("    ") for line in more)
    assert "ValueError: one" in written.getvalue()


def test_what_is_said_and_what_is_not() -> None:
    assert "INFO -: yes" in str(line_of(event(a="yes")))
    assert line_of(event(log_namespace="twisted.internet.tcp.Port", a="starting on 25")) is None
    assert line_of(event(log_level=LogLevel.debug, a="x")) is None
    assert "WARNING -: odd" in str(
        line_of(event(log_namespace="twisted.x", log_level=LogLevel.warn, a="odd"))
    )
    assert str(line_of(event(a="a\x1b[2Jb\r"))).endswith("-: a\\x1b[2Jb\\x0d\n")


def test_what_the_journey_tells_in_a_moment_is_one_write() -> None:
    written: list[str] = []
    file = io.StringIO()
    file.write = lambda text: written.append(text) or len(text)  # type: ignore[method-assign, func-returns-value]
    clock = Clock()
    observer = LineObserver(file, clock)
    journey = Journey()
    journey.add_reader(LogReader(Logger(NAMESPACE, observer=observer)))
    journey.tell("accepted", "4f-1")
    clock.advance(MOMENT / 2)
    journey.tell("done", "4f-1")
    assert not written
    clock.advance(MOMENT / 2)
    assert [text.count("\n") for text in written] == [2]
    clock.advance(MOMENT)
    journey.tell("accepted", "4f-2")
    Logger("twisted_mta.x", observer=observer).error("trouble")  # at once, and in order
    assert [text.count("\n") for text in written] == [2, 2]
    assert written[1].index("accepted") < written[1].index("trouble")
    clock.advance(MOMENT)
    assert len(written) == 2


def test_what_a_thread_writes_while_the_file_is_opened_anew_is_not_lost(tmp_path: Path) -> None:
    path, moved = tmp_path / "log", tmp_path / "log.1"

    class Slow(io.StringIO):
        closing = threading.Event()

        def write(self, text: str) -> int:
            reopening.start()
            self.closing.wait(0.1)  # which comes only when nobody waits for this write
            moved.write_text(text, encoding="utf-8")
            return super().write(text)

        def close(self) -> None:
            self.closing.set()
            super().close()

    path.touch()
    file = Slow()
    observer = LineObserver(file, Clock(), path=path)
    reopening = threading.Thread(target=observer.reopen)
    Logger("twisted_mta.x", observer=observer).error("trouble")
    reopening.join()
    Logger("twisted_mta.x", observer=observer).error("later")
    assert file.closed
    assert moved.read_text().endswith("trouble\n") and path.read_text().endswith("later\n")
