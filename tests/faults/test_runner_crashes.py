"""The runner dies at every step it takes, twice in a row, or is overtaken there, and the rows are those of a replay."""

import asyncio
import json
import sys


class TestRunnerKilledAnywhere:
    async def test_leaves_rows_that_equal_a_replay(self, database: str) -> None:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.crashing_runner", database, stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await program.communicate()
        assert program.returncode == 0
        found = json.loads(answer.splitlines()[-1])
        assert found["rows"]["journal.v1"] > 40
        assert found["rows"]["call_summaries.v1"] > 1
        assert found["of_opening"] > 20
        assert found["of_reading"] > 20
        assert found["of_reading_in_several_statements"] > 30
        assert found["differing"] == {"opening": [], "reading": [], "several": []}
        # None: there was nobody to overtake, or one who held the others up.
        assert found["overtaken"].count(True) >= 2
        assert False not in found["overtaken"]
        assert False in found["overtaken_without_predicate"]
        # The journal, which is written first, refuses to be written twice; partial rows would take it.
        assert found["added_twice_without_predicate"]
