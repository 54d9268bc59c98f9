from django.conf import settings
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from access.compare_page import compare_page
from access.matrix_page import matrix_page
from access.pages import complete_page, effective_page, who_can_page
from access.where_page import where_page
from aggregation.pages import backfill_page, trends_page
from alerts.pages import unread_page
from capacity.pages import gaps_page
from owners.pages import end_dates_page, leavers_page
from planning.pages import filling_page, forecasts_page, report_page
from reviews.pages import my_items_page

from . import oidc
from .api import router
from .health import health_page
from .metrics import metrics
from .saved_views import list_columns_page, saved_views_page
from .search import search_page
from .time_zone import time_zone_page

#: Its script has an address of its own: the policy for pages permits none in them.
docs = SpectacularSwaggerSplitView.as_view()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("metrics", metrics, name="metrics"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/who-can/", admin.site.admin_view(who_can_page), name="who-can"),
    path("admin/effective/", admin.site.admin_view(effective_page), name="effective"),
    path("admin/who-can/paths/", admin.site.admin_view(complete_page), name="who-can-paths"),
    path("admin/rights-matrix/", admin.site.admin_view(matrix_page), name="rights-matrix"),
    path("admin/compare/", admin.site.admin_view(compare_page), name="compare"),
    path("admin/where-is/", admin.site.admin_view(where_page), name="where-is"),
    path("admin/capacity-gaps/", admin.site.admin_view(gaps_page), name="capacity-gaps"),
    path("admin/trends/", admin.site.admin_view(trends_page), name="trends"),
    path("admin/trends/backfill/", admin.site.admin_view(backfill_page), name="backfill"),
    path("admin/forecasts/", admin.site.admin_view(forecasts_page), name="forecasts"),
    path("admin/filling-up/", admin.site.admin_view(filling_page), name="filling-up"),
    path("admin/planning-report/", admin.site.admin_view(report_page), name="planning-report"),
    path("admin/leavers/", admin.site.admin_view(leavers_page), name="leavers"),
    path("admin/end-dates/", admin.site.admin_view(end_dates_page), name="end-dates"),
    path("admin/my-items/", admin.site.admin_view(my_items_page), name="my-items"),
    path("admin/unread-alerts/", admin.site.admin_view(unread_page), name="unread-alerts"),
    path("admin/health/", admin.site.admin_view(health_page), name="health"),
    path("admin/saved-views/", admin.site.admin_view(saved_views_page), name="saved-views"),
    path("admin/list-columns/", admin.site.admin_view(list_columns_page), name="list-columns"),
    path("admin/time-zone/", admin.site.admin_view(time_zone_page), name="time-zone"),
    # Before the admin's pages with these addresses.
    path("admin/search/", admin.site.admin_view(search_page), name="search"),
    path("admin/", include("taifish.login_pages")),
    path("oidc/login/", oidc.start, name="oidc-login"),
    path("oidc/callback/", oidc.callback, name="oidc-callback"),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", docs if settings.TAIFISH_API_DOCS_OPEN else login_required(docs), name="docs"),
    path("api/", include(router.urls)),
]

handler400 = "api.errors.bad_request"
handler403 = "api.errors.forbidden"
handler404 = "api.errors.not_found"
handler500 = "api.errors.failed"
