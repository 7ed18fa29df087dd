"""What looks like personal data: by the names of columns, and by the shape of their values."""

from icetap.records.personal.columns import Finding, find_personal

__all__ = ["Finding", "find_personal"]
