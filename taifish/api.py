"""The router of the REST API, with one line per endpoint."""

from rest_framework.routers import DefaultRouter

from access import viewsets as access
from accounts import viewsets as accounts
from aggregation import viewsets as aggregation
from alerts import viewsets as alerts
from audit.viewsets import EventViewSet
from capacity import viewsets as capacity
from classification import viewsets as classification
from drift import viewsets as drift
from duties import viewsets as duties
from instances import viewsets as instances
from owners import viewsets as owners
from planning.viewsets import (
    FillingUpViewSet,
    ForecastViewSet,
    InstanceLimitViewSet,
    SizeLimitViewSet,
    VolumeViewSet,
)
from reviews import viewsets as reviews
from sync import viewsets as sync
from tagging import viewsets as tagging

from . import viewsets as house

router = DefaultRouter()
router.register("instances", instances.InstanceViewSet)
router.register("credentials", instances.CredentialViewSet)
router.register("tags", tagging.TagViewSet)
router.register(r"tags/(?P<tag_id>\d+)/instances", tagging.TaggedInstanceViewSet, "tag-instances")
router.register("tag-operations", tagging.TagOperationViewSet)
router.register("sync-sessions", sync.SyncSessionViewSet)
router.register(r"sync-sessions/(?P<session_id>\d+)/records", sync.SessionRecordViewSet, "syncsession-records")
router.register("sync-records", sync.SyncRecordViewSet)
router.register("visit-health", sync.VisitHealthViewSet)
router.register("accounts", accounts.AccountViewSet)
router.register(r"accounts/(?P<account_id>\d+)/grants", accounts.GrantViewSet, "account-grants")
router.register(r"accounts/(?P<account_id>\d+)/memberships", accounts.MembershipViewSet, "account-memberships")
router.register(r"accounts/(?P<account_id>\d+)/effective", access.EffectiveGrantViewSet, "account-effective")
router.register("access", access.AccessViewSet, "access")
router.register(r"accounts/(?P<account_id>\d+)/roles", accounts.RoleReachViewSet, "account-roles")
router.register("where-is", access.WhereViewSet, "where-is")
router.register("matrix", access.MatrixViewSet, "matrix")
router.register("compare", access.CompareViewSet, "compare")
router.register("account-changes", accounts.AccountChangeViewSet)
router.register("account-filters", accounts.AccountFilterViewSet)
router.register("databases", capacity.DatabaseViewSet)
router.register("database-sizes", capacity.DatabaseSizeViewSet)
router.register("instance-sizes", capacity.InstanceSizeViewSet)
router.register("tablespaces", capacity.TablespaceViewSet)
router.register("tablespace-sizes", capacity.TablespaceSizeViewSet)
router.register("capacity-gaps", capacity.GapViewSet, "capacity-gaps")
router.register("database-filters", capacity.DatabaseFilterViewSet)
router.register("instance-aggregates", aggregation.InstanceAggregateViewSet)
router.register("database-aggregates", aggregation.DatabaseAggregateViewSet)
router.register("aggregate-totals", aggregation.TotalViewSet, "aggregate-totals")
router.register("aggregate-lacking", aggregation.LackingViewSet, "aggregate-lacking")
router.register("sizes-so-far", aggregation.SoFarViewSet, "sizes-so-far")
router.register("size-limits", SizeLimitViewSet)
router.register("instance-limits", InstanceLimitViewSet, "instance-limits")
router.register("volumes", VolumeViewSet)
router.register("forecasts", ForecastViewSet, "forecasts")
router.register("filling-up", FillingUpViewSet, "filling-up")
router.register("classifications", classification.ClassificationViewSet)
router.register("classification-rules", classification.ClassificationRuleViewSet)
router.register("assignments", classification.AssignmentViewSet)
router.register("people", owners.PersonViewSet)
router.register("account-owners", owners.OwnershipViewSet)
router.register("owner-rules", owners.OwnerRuleViewSet)
router.register("end-dates", owners.EndDateViewSet)
router.register("end-dates-seen", owners.DatedViewSet, "end-dates-seen")
router.register("leavers", owners.LeaversViewSet, "leavers")
router.register("baselines", drift.BaselineViewSet)
router.register(r"baselines/(?P<baseline_id>\d+)/deviations", drift.DeviationViewSet, "baseline-deviations")
router.register("accepted-deviations", drift.AcceptedDeviationViewSet)
router.register("duty-pairs", duties.DutyPairViewSet)
router.register(r"duty-pairs/(?P<pair_id>\d+)/conflicts", duties.ConflictViewSet, "dutypair-conflicts")
router.register("accepted-conflicts", duties.AcceptedConflictViewSet)
router.register("campaigns", reviews.CampaignViewSet)
router.register("review-items", reviews.ItemViewSet)
router.register("alert-rules", alerts.AlertRuleViewSet)
router.register("alert-channels", alerts.ChannelViewSet)
router.register("alerts", alerts.AlertViewSet)
router.register("alert-deliveries", alerts.DeliveryViewSet)
router.register("schedules", house.ScheduleViewSet)
router.register("search", house.SearchViewSet, "search")
router.register("tokens", house.ApiTokenViewSet)
router.register("audit", EventViewSet, "audit")
