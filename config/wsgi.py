"""The web server's way in; refuses a database that does not fit the code."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("RANKLOOP_PROCESS", "web")

from django.core.wsgi import get_wsgi_application

from config.startup import refuse_unfit_database

application = get_wsgi_application()
refuse_unfit_database()
