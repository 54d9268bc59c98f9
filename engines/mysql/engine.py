from __future__ import annotations

from ..engine import Engine
from . import account, excess, facts, reads, session, sizes, user_table
from .semantics import MYSQL
from .versions import ONLY_IN

ENGINE = Engine(
    name="mysql",
    label="MySQL / MariaDB",
    port=3306,
    products={"mysql": "MySQL", "mariadb": "MariaDB"},
    session=session.MySQLSession,
    reads=reads.READS,
    facts=facts,
    sizes=sizes,
    account=account,
    excess=excess.excess,
    semantics=MYSQL,
    features=lambda product, version, account: user_table.described(product, version),
    tested={"MariaDB": ("10.11", "11.8"), "MySQL": ("9.7",)},
    emulated={"MySQL": ("5.7", "8.0", "8.4")},
    has_hosts=True,
    only_in=ONLY_IN,
)
