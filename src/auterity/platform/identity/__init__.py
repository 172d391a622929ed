"""Who is acting: people, memberships, logins and access tokens, and the guard that every endpoint stands behind."""
