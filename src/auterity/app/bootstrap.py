"""The first start of an installation: someone who may log in, a key that works, and models that need no provider."""

from auterity.app.banner import FirstRun
from auterity.app.services import open_services
from auterity.app.settings import Settings
from auterity.engines.database.sessions import Scope
from auterity.platform.bootstrap import bootstrap as make_first_access
from auterity.platform.identity.principal import Principal
from auterity.platform.models.sandbox import seed_sandbox

__all__ = ["bootstrap"]


async def bootstrap(settings: Settings, database_url: str) -> FirstRun | None:
    """Make an empty, migrated database usable; None where it is already.

    Raises:
        MasterKeyUnusable: there is no usable master key.
    """
    models: list[str] = []
    async with open_services(settings, database_url) as services:

        async def seed(scope: Scope) -> None:
            actor = Principal("", scope.tenant_id, frozenset({"owner"}), operator=True)
            models.extend(await seed_sandbox(scope, actor, services.models.providers, services.models.catalogue))

        access = await make_first_access(
            services.database, tenants=services.tenants, identity=services.identity, keys=services.keys, seed=seed
        )
    return None if access is None else FirstRun(access.email, access.password, access.api_key, models[0])
