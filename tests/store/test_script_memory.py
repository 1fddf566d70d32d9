"""What scripts remember: each thing once, however many ask at once."""

from concurrent.futures import ThreadPoolExecutor

from twisted_mta.store.script_memory import ScriptMemory


def test_of_many_that_ask_at_once_one_is_told_that_it_is_new(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ScriptMemory(tmp_path).is_new("a", 20.0, 10.0), range(40)))
    assert answers.count(True) == 1


def test_what_has_ended_is_new_again(tmp_path):
    memory = ScriptMemory(tmp_path)
    assert memory.is_new("a", 20.0, 10.0) and not memory.is_new("a", 30.0, 19.0)
    assert memory.knows("a", 19.0) and not memory.knows("a", 20.0)
    assert memory.is_new("a", 40.0, 20.0) and memory.is_new("b", 40.0, 20.0)
    memory.remember({"b": 21.0}, 20.0)
    assert memory.is_new("b", 40.0, 21.0)
