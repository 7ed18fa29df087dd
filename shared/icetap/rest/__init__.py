"""The REST engine: streams of HTTP APIs as declarations. How it works: docs/explanation/rest-engine.md."""

from icetap.rest.answers import Answer, Format
from icetap.rest.auth import AllOf, ApiKey, Auth, Basic, Bearer, Headers, NoAuth, OAuth2, Session, needed
from icetap.rest.client import Client, ClientOptions
from icetap.rest.failures import (
    CredentialsError,
    EndlessReadError,
    ForeignHostError,
    NoAccessError,
    PassingFaultError,
    PatienceError,
    RefusedRequestError,
    SkippedPartError,
    TruncatedReadError,
    UnreadableStreamError,
)
from icetap.rest.incremental import Incremental, Progress, Window
from icetap.rest.jobs import Job, JobError
from icetap.rest.jsonpath import JSONPath
from icetap.rest.limits import Rate
from icetap.rest.paging import (
    CursorPaging,
    LinkPaging,
    Next,
    NoPaging,
    OffsetPaging,
    PagePaging,
    Paging,
    Size,
)
from icetap.rest.parallel import in_order
from icetap.rest.parts import Part, RecordPage
from icetap.rest.records import Filter, RecordRules
from icetap.rest.request import Asked, Form, GraphQL, Place, Request, Text, body, header, query
from icetap.rest.rules import ErrorRule, Match, RetryPolicy
from icetap.rest.schemas import load_properties
from icetap.rest.stream import RestStream
from icetap.rest.tap import REST_SETTINGS, RestTap

__all__ = [
    "REST_SETTINGS",
    "AllOf",
    "Answer",
    "ApiKey",
    "Asked",
    "Auth",
    "Basic",
    "Bearer",
    "Client",
    "ClientOptions",
    "CredentialsError",
    "CursorPaging",
    "EndlessReadError",
    "ErrorRule",
    "Filter",
    "ForeignHostError",
    "Form",
    "Format",
    "GraphQL",
    "Headers",
    "Incremental",
    "JSONPath",
    "Job",
    "JobError",
    "LinkPaging",
    "Match",
    "Next",
    "NoAccessError",
    "NoAuth",
    "NoPaging",
    "OAuth2",
    "OffsetPaging",
    "PagePaging",
    "Paging",
    "Part",
    "PassingFaultError",
    "PatienceError",
    "Place",
    "Progress",
    "Rate",
    "RecordPage",
    "RecordRules",
    "RefusedRequestError",
    "Request",
    "RestStream",
    "RestTap",
    "RetryPolicy",
    "Session",
    "Size",
    "SkippedPartError",
    "Text",
    "TruncatedReadError",
    "UnreadableStreamError",
    "Window",
    "body",
    "header",
    "in_order",
    "load_properties",
    "needed",
    "query",
]
