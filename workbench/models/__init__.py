"""Tables: columns and slim properties, no queries. One file per noun; importing this package knows them all."""

from workbench.models.audits import Audit, AuditItem
from workbench.models.datasets import CLASS_COLOURS, Class, Dataset
from workbench.models.decisions import CLASS_KINDS, IMAGE_KINDS, STATEMENTS, VERDICTS, Decision
from workbench.models.duplicates import NOTHING_LEFT, DuplicateGroup, DuplicateMember, DuplicatePair, ImageHash
from workbench.models.findings import FINDINGS, SCANS_OF_FINDINGS, Finding, Scan
from workbench.models.images import SPLITS, STATUSES, Attribute, Image, Vote
from workbench.models.imports import Import, Refusal
from workbench.models.jobs import JOB_STATUSES, Job
from workbench.models.metadata import Base, utc_now
from workbench.models.queues import Opinion, Queue, QueueItem
from workbench.models.runs import RUN_STATUSES, Run
from workbench.models.studies import STUDY_STATUSES, Study, StudyRun
from workbench.models.users import ROLES, Activity, Invitation, LoginLink, User

__all__ = [
    "CLASS_COLOURS",
    "CLASS_KINDS",
    "FINDINGS",
    "IMAGE_KINDS",
    "JOB_STATUSES",
    "NOTHING_LEFT",
    "ROLES",
    "RUN_STATUSES",
    "SCANS_OF_FINDINGS",
    "SPLITS",
    "STATEMENTS",
    "STATUSES",
    "STUDY_STATUSES",
    "VERDICTS",
    "Activity",
    "Attribute",
    "Audit",
    "AuditItem",
    "Base",
    "Class",
    "Dataset",
    "Decision",
    "DuplicateGroup",
    "DuplicateMember",
    "DuplicatePair",
    "Finding",
    "Image",
    "ImageHash",
    "Import",
    "Invitation",
    "Job",
    "LoginLink",
    "Opinion",
    "Queue",
    "QueueItem",
    "Refusal",
    "Run",
    "Scan",
    "Study",
    "StudyRun",
    "User",
    "Vote",
    "utc_now",
]
