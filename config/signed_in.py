"""Who is signed in: session and person, each found by a prepared statement, for every request asks."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.utils import timezone

from annotate.models import User
from annotate.prepared import Prepared

_session = Prepared(lambda key: Session.objects.filter(session_key=key))
_person = Prepared(lambda number: User.objects.filter(pk=number))


class SessionStore(db.SessionStore):
    """Django's own sessions in the database."""

    def _get_session_from_db(self) -> Session | None:
        session = _session.first(key=self.session_key or "")
        if session is None or session.expire_date <= timezone.now():
            self._session_key = None
            return None
        return session


class Backend(ModelBackend):
    """Django's own check of names and passwords."""

    def get_user(self, user_id: Any) -> User | None:
        """The person of a session, unless they were deactivated."""
        person = _person.first(number=int(user_id))
        return person if person is not None and self.user_can_authenticate(person) else None
