"""Setting up, in one door: NASes, profiles, services. Each use case lives in a module of its own."""

from __future__ import annotations

from aaa.bind_cpe import bind_cpe, bind_port, close_replacement, open_replacement, release_cpe, set_binding
from aaa.change_service import change_profile, end_service, limit_devices, set_static_address
from aaa.create_service import add_credential, create_service
from aaa.define_profile import define_profile, redefine_profile
from aaa.register_nas import change_nas, register_nas
from aaa.rotate_secret import retire_old_secret, rotate_secret
from aaa.service_terms import NewCredential
from aaa.set_password import keep_only_hash, set_password, set_password_hash

__all__ = [
    "NewCredential",
    "add_credential",
    "bind_cpe",
    "bind_port",
    "change_nas",
    "change_profile",
    "close_replacement",
    "create_service",
    "define_profile",
    "end_service",
    "keep_only_hash",
    "limit_devices",
    "open_replacement",
    "redefine_profile",
    "register_nas",
    "release_cpe",
    "retire_old_secret",
    "rotate_secret",
    "set_binding",
    "set_password",
    "set_password_hash",
    "set_static_address",
]
