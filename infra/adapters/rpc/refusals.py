"""A problem as gRPC has it: a status with details that programs can read (google.rpc)."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from api.problems import Problem

DOMAIN = "aybiza"
_BY_STATUS: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT, 401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND, 408: grpc.StatusCode.DEADLINE_EXCEEDED, 409: grpc.StatusCode.ABORTED, 410: grpc.StatusCode.OUT_OF_RANGE,
    412: grpc.StatusCode.FAILED_PRECONDITION, 422: grpc.StatusCode.INVALID_ARGUMENT, 429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}  # fmt: skip


def of_problem(problem: Problem, trace_id: str) -> Any:
    """The status for `abort_with_status`."""
    errors = [each.wire() for each in problem.errors]
    kind = problem.kind
    document = {"code": kind.code, "status": kind.status, "detail": problem.detail, "retryable": kind.retryable, "errors": errors}
    return of_document(document | problem.more, trace_id, problem.headers.get("Retry-After"))


def of_document(document: Mapping[str, Any], trace_id: str, retry_after: str | None = None) -> Any:
    """The same of a problem document."""
    code = _BY_STATUS.get(document["status"], grpc.StatusCode.INTERNAL)
    metadata = {name: str(document[name]) for name in ("needed", "status") if name in document}
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=document["code"], domain=DOMAIN, metadata=metadata),
        error_details_pb2.RequestInfo(request_id=trace_id),
    ]
    if document.get("errors"):
        details.append(error_details_pb2.BadRequest(field_violations=_violations(document["errors"])))
    if document["retryable"]:
        seconds = int(retry_after) if retry_after is not None and retry_after.isdigit() else 1
        details.append(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds)))
    status = status_pb2.Status(code=code.value[0], message=document["detail"])
    for each in details:
        packed = any_pb2.Any()
        packed.Pack(each)
        status.details.append(packed)
    return rpc_status.to_status(status)


def _violations(errors: Sequence[Mapping[str, str]]) -> list[Any]:
    return [
        error_details_pb2.BadRequest.FieldViolation(
            field=each.get("pointer") or each.get("parameter") or each.get("header") or "", description=each["detail"]
        )
        for each in errors
    ]
