"""Manifests: YAML files that declare one job each.

``models`` says what a manifest may contain (in parts: ``sources``, ``corpus``, ``training``),
``load`` reads one and reports every mistake at once, ``diff`` compares two, and ``schema``
publishes the JSON Schema that editors use. The way of a text: ``bundled`` finds it, ``reader`` and
``scalars`` make a ``tree`` of it, ``expand`` and ``overrides`` change that, ``check`` and
``shapes`` judge it.
"""
