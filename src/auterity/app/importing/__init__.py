"""Taking over another gateway's configuration: read it, plan what it becomes here, apply the plan, report the rest."""
