"""What pre-training was planned to cost, beside what it cost: rows for the report."""

from typing import Any

from plot.chart import known

Row = dict[str, Any]
GIB = 2**30
FORMATS = {"count": ",.0f", "share": ".1%", "number": ",.4g"}
NOT_MEASURED = "not measured"


def of_plan(plan: Row, part: str = "time") -> Row:
    """The costs that a plan names; part: "time", or where another rate was reckoned with."""
    time = (plan["dry run"]["corrected"] if part == "dry run" else plan[part]) or {}
    costs = {"Hours": time.get("hours"), "Device hours": time.get("device hours")}
    costs |= {"Energy at full power, kWh": time.get("kWh"), "kg CO2eq": time.get("kg CO2eq")}
    if part == "time":
        costs |= {"Steps": plan["run"]["steps"], "Tokens": plan["run"]["tokens"], "Ranks": plan["machine"]["ranks"]}
        costs |= {"Tokens per second and device": plan["speed"]["tokens per second and device"]}
        costs |= {"Share of the peak (MFU)": plan["speed"]["mfu assumed"]}
        costs |= {"Memory allocated on a device, GiB": plan["memory"]["allocated"] / GIB}
    elif part == "published":
        costs |= {"Tokens per second and device": time.get("tokens per second and device")}
        costs |= {"Share of the peak (MFU)": time.get("mfu")}
    else:
        compared = plan["dry run"]["compared"]
        costs |= {"Ranks": plan["dry run"]["ranks"]}
        costs |= {"Tokens per second and device": compared["tokens per second and device"]["measured"]}
        costs |= {"Memory allocated on a device, GiB": compared["allocated, GiB"]["measured"]}
    return costs


def of_run(record: Row, log: list[Row], plan: Row | None) -> Row:
    """The costs of a run: by its record once it has finished, else so far, by its log alone. log: its own steps."""
    timed = [row for row in log if row["step"] and known(row, "seconds")]
    hours, ranks = sum(row["seconds"] for row in timed) / 3600 or None, record.get("ranks")
    costs = {
        "Steps": max((row["step"] for row in log), default=0),
        "Tokens": max((r["tokens"] for r in log), default=0),
    }
    costs |= {"Ranks": ranks, "Hours": hours, "Device hours": hours * ranks if hours and ranks else None}
    rate = record.get("tokens_per_second")
    costs["Tokens per second and device"] = rate / ranks if rate and ranks else None
    costs["Share of the peak (MFU)"] = record.get("mfu")
    memory = [row["memory_gib"] for row in log if known(row, "memory_gib")]
    costs["Memory allocated on a device, GiB"] = max(memory, default=None)
    device = plan["machine"]["device"] if plan else {}
    if device.get("watts") and hours and ranks and record.get("device") != "cpu":  # what was planned for has run
        costs["Energy at full power, kWh"] = hours * ranks * device["watts"] / 1000
        if plan and plan["time"]["kg CO2eq per kWh"]:
            costs["kg CO2eq"] = costs["Energy at full power, kWh"] * plan["time"]["kg CO2eq per kWh"]
    return costs


ORDER = {  # quantity -> how it is written
    "Steps": "count",
    "Tokens": "count",
    "Ranks": "count",
    "Hours": "number",
    "Device hours": "number",
    "Tokens per second and device": "number",
    "Share of the peak (MFU)": "share",
    "Memory allocated on a device, GiB": "number",
    "Energy at full power, kWh": "number",
    "kg CO2eq": "number",
}


def compare(plan: Row | None, record: Row, log: list[Row]) -> Row | None:
    """Columns and rows of the table: quantity, what each column says of it, actual / planned. None: nothing to compare.

    record: of the run as far as it has come, empty before it begins.
    """
    columns: dict[str, Row] = {}
    if plan:
        columns["Planned"] = of_plan(plan)
        columns |= {name: of_plan(plan, part) for name, part in PARTS.items() if plan[part]}
    if log:
        columns["Actual"] = of_run(record, log, plan)
    if not columns:
        return None
    rows = []
    for quantity, kind in ORDER.items():
        values = {name: costs.get(quantity) for name, costs in columns.items()}
        if any(value is not None for value in values.values()):
            planned, actual = values.get("Planned"), values.get("Actual")
            ratio = format(actual / planned, ".3g") if planned and actual is not None else None
            cells = {name: None if value is None else format(value, FORMATS[kind]) for name, value in values.items()}
            rows.append({"quantity": quantity, "cells": cells, "ratio": ratio})
    return {"columns": list(columns), "rows": rows, "planned": plan is not None, "run": bool(log)}


PARTS = {"Planned after a dry run": "dry run", "Published": "published"}  # columns that a plan may have
