"""What an import carried over, what it could not, and what is left for a person to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from auterity.app.importing.document import Entry

__all__ = ["Finding", "ImportReport"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark about one place in the file."""

    path: str
    line: int
    message: str


@dataclass(slots=True)
class ImportReport:
    """All remarks, in the order of the file. None of them repeats a secret."""

    carried: list[Finding] = field(default_factory=list[Finding])
    lost: list[Finding] = field(default_factory=list[Finding])
    """Settings without a counterpart here, and why."""
    actions: list[Finding] = field(default_factory=list[Finding])
    """What the person has to do before everything works."""

    def carry(self, entry: Entry, message: str) -> None:
        """The value was taken over."""
        self.carried.append(Finding(entry.path, entry.line, message))

    def lose(self, entry: Entry, message: str) -> None:
        """The value was not taken over."""
        self.lost.append(Finding(entry.path, entry.line, message))

    def act(self, entry: Entry, message: str) -> None:
        """The person has to do something."""
        self.actions.append(Finding(entry.path, entry.line, message))

    def absorb(self, other: "ImportReport") -> None:
        """Take over another report's remarks."""
        self.carried += other.carried
        self.lost += other.lost
        self.actions += other.actions

    def sort(self) -> None:
        """Bring the remarks into the order of the file."""
        for findings in (self.carried, self.lost, self.actions):
            findings.sort(key=lambda finding: finding.line)

    def lines(self) -> Sequence[str]:
        """The report as plain text."""
        written: list[str] = []
        for title, findings in (
            ("Carried over", self.carried),
            ("Not carried over", self.lost),
            ("For you to do", self.actions),
        ):
            written.append(f"{title}: {len(findings)}")
            written += [f"  line {finding.line}, {finding.path}: {finding.message}" for finding in findings]
        return written
