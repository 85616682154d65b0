"""What people read: the tables of an audit, as a page, a picture, numbers and scores."""

from miafast.report.report import AttackResult, Report

__all__ = ["AttackResult", "Report"]
