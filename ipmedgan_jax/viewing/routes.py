"""The addresses of the server: what each serves, and the parameters that it takes."""

from ipmedgan_jax.viewing.fill_options import FILL_PARAMETERS

ROUTES: list[tuple[str, str, str, tuple[str, ...]]] = [
    ("GET", r"", "_page", ()),
    ("GET", r"assets/([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)?)", "_asset", ()),
    ("GET", r"api/state", "_state", ()),
    ("GET", r"api/scan\.nii\.gz", "_scan", ("number",)),
    ("POST", r"api/scan/([0-9]{1,12})/keep", "_keep", ()),
    ("POST", r"api/scan/([0-9]{1,12})/back", "_go_back", ()),
    ("POST", r"api/mask", "_open_mask", ("scan", "name", "labels")),
    ("GET", r"api/fill", "_fill_state", ()),
    ("GET", r"api/fill/([0-9]{1,12})/painted", "_painted", ()),
    ("GET", r"api/(filled|mask|deviation)\.nii\.gz", "_fill_view", ("fill",)),
    ("GET", r"api/save/(filled|mask|deviation|sidecar)", "_save", ("fill",)),
    ("POST", r"api/upload", "_begin_upload", ()),
    ("POST", r"api/upload/([A-Za-z0-9_-]{12})", "_add_file", ("name",)),
    ("POST", r"api/upload/([A-Za-z0-9_-]{12})/open", "_open_upload", ("series",)),
    ("POST", r"api/upload/([A-Za-z0-9_-]{12})/drop", "_drop_upload", ()),
    ("POST", r"api/fill", "_fill", FILL_PARAMETERS),
    ("POST", r"api/cancel", "_cancel", ("fill",)),
]
"""Method, path below the token, the method of the handler that serves it, and the parameters that it takes.

`scan`, `number` (of a scan) and `fill` are what the page expects; another one is refused.
"""
