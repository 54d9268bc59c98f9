"""The audit trail's wiring: origin of requests, tasks and commands; logins, exports and decisions."""

from __future__ import annotations

import getpass
import os
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from celery import signals
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, User
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils.functional import LazyObject

from audit.models import Event
from audit.origin import LONGEST, Origin, of_process, origin_is
from audit.services import record

#: Commands that give away data whatever their options, and those that are events in themselves.
EXPORTS = ("backup", "export_instances", "audit_trail", "planning_report", "dumpdata")
NOTABLE = (
    *("shell", "dbshell", "restore", "flush", "rotate_credential_keys"),
    *("retry_failed", "cancel_session", "resume_visits"),
)
#: Options by which a command's answer becomes a file or a document.
_AS_FILE = ("--csv", "--xlsx", "--json")

SHELLS = ("shell", "dbshell")


# Requests


def middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Give each request an id, make it the origin of what it changes, and write an event for each file it returns."""

    def answer(request: HttpRequest) -> HttpResponse:
        number = str(uuid.uuid4())
        with origin_is(lambda: origin_of(request, number)):
            response = get_response(request)
            if response.status_code == 200 and response.get("Content-Disposition", "").startswith("attachment"):
                record_export(request, response)
        response.headers["X-Request-ID"] = number
        return response

    return answer


def origin_of(request: HttpRequest, number: str) -> Origin:
    """The user is the one known so far: to find out takes queries, and this is called in the midst of one."""
    # Workers do without the login page, and what it imports.
    from .login import client_address

    user = request.__dict__.get("user")
    if isinstance(user, LazyObject):
        user = getattr(request, "_cached_user", None)
    known = isinstance(user, AbstractBaseUser)
    return Origin(
        door=Event.Door.API if request.path_info.startswith("/api/") else Event.Door.ADMIN,
        user_id=user.pk if known else None,
        user_name=user.get_username() if known else "",
        address=client_address(request),
        request=number,
    )


def record_export(request: HttpRequest, response: HttpResponse) -> None:
    """The question is the address with its parameters."""
    name = re.search(r'filename="([^"]*)"', response["Content-Disposition"])
    record(
        Event.Kind.EXPORT,
        name=name[1] if name else request.path,
        path=request.path[:500],
        query=dict(request.GET.lists()),
    )


# Commands, tasks


def start_command(words: Sequence[str]) -> None:
    """Make a command the origin of what this process changes."""
    name = words[0] if words else ""
    door = Event.Door.SHELL if name in SHELLS else Event.Door.COMMAND
    of_process(Origin(door=door, user_name=machine_user(), command=name[:LONGEST]))


def end_command(words: Sequence[str]) -> None:
    """Write an event if the command has exported something, or is one of note."""
    if not words or "--help" in words:
        return
    is_export = words[0] in EXPORTS or any(word.split("=")[0] in _AS_FILE for word in words[1:])
    if not (is_export or words[0] in NOTABLE) or "audit_event" not in connection.introspection.table_names():
        # A store of an earlier release, which `restore` may have brought, has no trail yet.
        return
    kind = Event.Kind.EXPORT if is_export else Event.Kind.COMMAND
    record(kind, name=words[0], words=list(words[1:]) if words[0] not in SHELLS else [])


def machine_user() -> str:
    """The user of the machine, or the number of one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@signals.celeryd_init.connect
@signals.beat_init.connect
def start_service(sender: Any = None, signal: Any = None, **kwargs: Any) -> None:
    name = "beat" if signal is signals.beat_init else "worker"
    of_process(Origin(door=Event.Door.WORKER, command=name))


_tasks: dict[str, Any] = {}


@signals.task_prerun.connect
def start_task(task_id: str, task: Any, **kwargs: Any) -> None:
    origin = Origin(door=Event.Door.WORKER, command=task.name)
    entered = origin_is(lambda: origin)
    entered.__enter__()
    _tasks[task_id] = entered


@signals.task_postrun.connect
def end_task(task_id: str, **kwargs: Any) -> None:
    if entered := _tasks.pop(task_id, None):
        entered.__exit__(None, None, None)


# Events without a table


def logged_in(request: HttpRequest | None, user: User, **kwargs: Any) -> None:
    record(Event.Kind.LOGIN, user, user=user, by=getattr(user, "backend", "").rpartition(".")[2])


def logged_out(request: HttpRequest | None, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        record(Event.Kind.LOGOUT, user, user=user)


def login_failed(credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any) -> None:
    record(Event.Kind.FAILED_LOGIN, name=_cut(credentials.get("username")))


def login_locked(username: str | None = None, **kwargs: Any) -> None:
    record(Event.Kind.LOCKED_LOGIN, name=_cut(username))


def _cut(name: Any) -> str:
    """What was entered as a name, which may be anything; the store cannot store NUL."""
    return str(name or "").replace("\0", "")[:80]


def decided(instance: Any, created: bool, **kwargs: Any) -> None:
    """Receiver for new rows of the admin's log. Django's own messages are JSON, and triggers write those changes."""
    if created and instance.change_message and not instance.change_message.startswith("["):
        kind = instance.content_type
        record(
            Event.Kind.DECISION,
            instance.get_edited_object() if kind and kind.model_class() else None,
            name=instance.object_repr,
            instance_id=int(instance.object_id) if kind and kind.model == "instance" else None,
            decision=str(instance.change_message),
        )


def connect() -> None:
    """Connect the receivers above."""
    from axes.signals import user_locked_out
    from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
    from django.db.models.signals import post_save

    user_logged_in.connect(logged_in)
    user_logged_out.connect(logged_out)
    user_login_failed.connect(login_failed)
    user_locked_out.connect(login_locked)
    if settings.TAIFISH_PAGES:
        from django.contrib.admin.models import LogEntry

        post_save.connect(decided, sender=LogEntry)
