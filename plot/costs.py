"""What pre-training was planned to cost, beside what it cost: rows for the report."""

from typing import Any

from plot.chart import known

Row = dict[str, Any]
GIB = 2**30
COUNT, NUMBER, SHARE = ",.0f", ",.4g", ".1%"
QUANTITIES = {  # in the table's order -> how it is written
    "Steps": COUNT,
    "Tokens": COUNT,
    "Ranks": COUNT,
    "Hours": NUMBER,
    "Device hours": NUMBER,
    "Tokens per second and device": NUMBER,
    "Share of the peak (MFU)": SHARE,
    "Memory allocated on a device, GiB": NUMBER,
    "Energy at full power, kWh": NUMBER,
    "kg CO2eq": NUMBER,
}


def time_and_energy(time: Row) -> Row:
    """What every part of a plan reckons."""
    costs = {"Hours": time["hours"], "Device hours": time["device hours"]}
    return costs | {"Energy at full power, kWh": time["kWh"], "kg CO2eq": time["kg CO2eq"]}


def planned(plan: Row) -> dict[str, Row]:
    """The columns that a plan fills: the plan, its correction by a dry run, and the published run that it repeats."""
    columns = {
        "Planned": {
            **time_and_energy(plan["time"]),
            **{"Steps": plan["run"]["steps"], "Tokens": plan["run"]["tokens"], "Ranks": plan["machine"]["ranks"]},
            "Tokens per second and device": plan["speed"]["tokens per second and device"],
            "Share of the peak (MFU)": plan["speed"]["mfu assumed"],
            "Memory allocated on a device, GiB": plan["memory"]["allocated"] / GIB,
        }
    }
    if dry_run := plan["dry run"]:
        columns["Planned after a dry run"] = {
            **time_and_energy(dry_run["corrected"]),
            "Ranks": dry_run["ranks"],
            "Tokens per second and device": dry_run["compared"]["tokens per second and device"]["measured"],
            "Memory allocated on a device, GiB": dry_run["compared"]["allocated, GiB"]["measured"],
        }
    if published := plan["published"]:
        columns["Published"] = {
            **time_and_energy(published),
            "Tokens per second and device": published["tokens per second and device"],
            "Share of the peak (MFU)": published["mfu"],
        }
    return columns


def measured(record: Row, log: list[Row], plan: Row | None) -> Row:
    """What a run has cost: by its record once it has finished, before that by its log alone. log: its own steps."""
    hours = sum(row["seconds"] for row in log if row["step"] and known(row, "seconds")) / 3600 or None
    ranks, rate = record.get("ranks"), record.get("tokens_per_second")
    device_hours = hours * ranks if hours and ranks else None
    memory = [row["memory_gib"] for row in log if known(row, "memory_gib")]
    costs = {
        "Steps": max(row["step"] for row in log),
        "Tokens": max(row["tokens"] for row in log),
        "Ranks": ranks,
        "Hours": hours,
        "Device hours": device_hours,
        "Tokens per second and device": rate / ranks if rate and ranks else None,
        "Share of the peak (MFU)": record.get("mfu"),
        "Memory allocated on a device, GiB": max(memory, default=None),
    }
    watts = plan["machine"]["device"]["watts"] if plan and record.get("device") != "cpu" else None
    if plan and watts and device_hours:
        energy, carbon = device_hours * watts / 1000, plan["time"]["kg CO2eq per kWh"]
        costs |= {"Energy at full power, kWh": energy, "kg CO2eq": energy * carbon if carbon else None}
    return costs


def compare(plan: Row | None, record: Row, log: list[Row]) -> Row | None:
    """Columns and rows of the table: quantity, what each column says of it, actual / planned. None: nothing to compare.

    record: of the run as far as it has come, empty before it has finished.
    """
    columns = planned(plan) if plan else {}
    if log:
        columns["Actual"] = measured(record, log, plan)
    rows = []
    for quantity, digits in QUANTITIES.items():
        values = {name: costs.get(quantity) for name, costs in columns.items()}
        if any(value is not None for value in values.values()):
            plans, actual = values.get("Planned"), values.get("Actual")
            ratio = format(actual / plans, ".3g") if plans and actual is not None else None
            cells = {name: None if value is None else format(value, digits) for name, value in values.items()}
            rows.append({"quantity": quantity, "cells": cells, "ratio": ratio})
    return {"columns": list(columns), "rows": rows, "planned": bool(plan), "run": bool(log)} if columns else None
