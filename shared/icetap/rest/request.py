"""What is asked: a request as data, before credentials and before it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from icetap.errors import ConfigurationError
from icetap.rest.templates import as_text, render, render_path

if TYPE_CHECKING:
    from collections.abc import Mapping

Where = Literal["query", "header", "body", "path", "cookie"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a request a value goes."""

    where: Where
    name: str
    """A dotted name leads into a JSON body: `paging.offset`."""


def query(name: str) -> Place:
    """A parameter of the query string."""
    return Place("query", name)


def header(name: str) -> Place:
    """A header."""
    return Place("header", name)


def body(name: str) -> Place:
    """A field of the JSON or form body."""
    return Place("body", name)


@dataclass(slots=True)
class Request:
    """One request. `path` is taken relative to the base URL, unless it is a whole URL."""

    path: str
    method: str = "GET"
    params: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    json: Any = None
    form: dict[str, Any] | None = None
    text: str | None = None
    auth: Any = None
    """How this request is signed, when otherwise than the client's others (`icetap.rest.auth.Auth`)."""

    template: str | None = None
    """The path before values were filled in: what is told of it where masks hide values."""

    is_signed: bool = True
    """Whether credentials are attached; without them any host may be asked, such as for a signed download."""

    is_repeatable: bool = True
    """Whether asking twice does no harm. Where it does, a lost answer is a `PassingFaultError` at once, and the sender
    finds out what became of the request. What the server has refused with a wait is always asked again."""

    def copy(self) -> Request:
        """Return a request that may be changed without changing this one."""
        return replace(
            self,
            params=dict(self.params),
            headers=dict(self.headers),
            cookies=dict(self.cookies),
            json=_copied(self.json),
            form=None if self.form is None else dict(self.form),
        )

    def asked(self) -> list[Any]:
        """Return what two requests have alike that ask for the same, credentials left out."""
        return [self.method, self.path, self.params, self.headers, self.json, self.form, self.text]

    def redirected(self, status: int) -> Request:
        """Return the request that follows a redirect: its address has the parameters, and most go on without a body."""
        following = self.copy()
        following.params = {}
        if status == HTTPStatus.SEE_OTHER or (
            status in {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND} and self.method == "POST"
        ):
            following.method, following.json, following.form, following.text = "GET", None, None, None
        return following

    def for_strangers(self) -> Request:
        """Return the request without anything that may be a credential."""
        return replace(self.copy(), is_signed=False, headers={}, cookies={})

    def put(self, place: Place, value: Any) -> None:
        """Put a value in its place.

        Raises:
            ConfigurationError: For a value that cannot stand in a header.
        """
        match place.where:
            case "query":
                self.params[place.name] = value
            case "header":
                self.headers[place.name] = _header(place.name, value)
            case "cookie":
                self.cookies[place.name] = as_text(value)
            case "path":
                self.path = self.path.replace(f"{{{place.name}}}", as_text(value))
            case "body" if self.form is not None:
                self.form[place.name] = value
            case "body":
                self.json = _put_into(self.json, place.name.split("."), value)


def _header(name: str, value: Any) -> str:
    text = as_text(value)
    if "\r" in text or "\n" in text:
        raise ConfigurationError(f"the value of the header '{name}' holds a line break, which no header may")
    return text


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(child) for key, child in value.items()}
    return list(value) if isinstance(value, list) else value


def _put_into(document: Any, names: list[str], value: Any) -> dict[str, Any]:
    changed = dict(document) if isinstance(document, dict) else {}
    name, *rest = names
    changed[name] = _put_into(changed.get(name), rest, value) if rest else value
    return changed


@dataclass(frozen=True, slots=True)
class Form:
    """A body of form fields."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    """A body of plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class GraphQL:
    """A GraphQL query, sent as JSON by POST."""

    query: str
    variables: Mapping[str, Any] = field(default_factory=dict)


Body = Form | Text | GraphQL | dict[str, Any] | list[Any] | None
"""A request's body; an object or a list is sent as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as declared, with templates in it."""

    path: str
    method: str = "GET"
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    body: Body = None

    def request(self, scope: Mapping[str, Any], names: Mapping[str, Any], *, where: str) -> Request:
        """Return the request with every template filled in; parameters without a value are left out.

        Raises:
            ConfigurationError: When the path needs a value that is not there.
        """
        made = Request(
            path=render_path(self.path, scope, names, where=where),
            template=self.path,
            method=self.method,
            params=render(self.params, scope),
            headers={name: _header(name, value) for name, value in render(self.headers, scope).items()},
        )
        match self.body:
            case GraphQL(query=text, variables=variables):
                made.method = "POST"
                made.json = {"query": render(text, scope), "variables": render(variables, scope)}
            case Form(fields=fields):
                made.form = render(fields, scope)
            case Text(text=text):
                made.text = render(text, scope)
            case dict() | list():
                made.json = render(self.body, scope)
        return made
