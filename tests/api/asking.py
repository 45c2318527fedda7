"""What API tests say of answers."""

import httpx


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem document, after looking whether it is a proper one."""
    assert answer.headers["Content-Type"] == "application/problem+json", (answer.status_code, answer.text)
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["type"] == f"/problems/{document['code']}"
    assert document["trace_id"] == answer.headers["Aybiza-Trace-Id"]
    return answer.status_code, document["code"]


def seen(*written: httpx.Response) -> dict[str, str | list[str]]:
    """The parameter by which a read shows at least what was written."""
    assert all(each.is_success for each in written), [each.text for each in written]
    return {"min-position": [each.headers["Aybiza-Position"] for each in written]}
