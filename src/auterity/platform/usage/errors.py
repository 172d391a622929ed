"""What can be wrong with a question about usage."""

from auterity.kit.errors import InvalidRequest, NotFound

__all__ = ["EventNotFound", "UsageQuestionInvalid"]


class UsageQuestionInvalid(InvalidRequest):
    """A parameter cannot be; ``param`` names it."""

    code = "usage_question_invalid"


class EventNotFound(NotFound):
    """No such event in this tenant."""

    code = "usage_event_not_found"
