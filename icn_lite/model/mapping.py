"""Where the fields of `mesh-job-protocol.md` §2 live in `JobSpec`; `job.MESH_JOB_PARAMS` is the other document's.

A path is written from `JobSpec` on; `id` is a property, everything else is a key on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

JOB_PROTOCOL: Final[Mapping[str, str]] = {
    "JobSpec.id": "id",
    "JobSpec.submitter": "submitter",
    "JobSpec.runtime": "runtime",
    "JobSpec.code": "code",
    "JobSpec.input": "input",
    "JobSpec.compute": "compute",
    "JobSpec.storage": "storage",
    "JobSpec.network": "network",
    "JobSpec.budget": "budget",
    "JobSpec.payment_type": "payment_type",
    "JobSpec.deadline": "deadline",
    "JobSpec.redundancy": "redundancy",
    "JobSpec.privacy": "privacy",
    "JobSpec.accuracy": "accuracy",
    "JobSpec.determinism": "determinism",
    "ComputeRequirements.min_cpu_cores": "compute.min_cpu_cores",
    "ComputeRequirements.min_memory_mb": "compute.min_memory_mb",
    "ComputeRequirements.gpu_required": "compute.gpu_required",
    "ComputeRequirements.architecture": "compute.architecture",
    "ComputeRequirements.estimated_cpu_hours": "compute.estimated_cpu_ms",
    "ComputeRequirements.estimated_memory_hours": "compute.estimated_memory_mb_ms",
    "ComputeRequirements.estimated_gpu_hours": "compute.estimated_gpu_ms",
    "Budget.max_total": "budget.max_total",
    "Budget.per_unit": "budget.per_unit",
    "Budget.early_completion_bonus": "budget.early_completion_bonus",
    "Budget.quality_bonus": "budget.quality_bonus",
    "AccuracySpec.target": "accuracy.target_ppm",
    "AccuracySpec.bonus_per_percent": "accuracy.bonus_per_percent",
    "JobCategory (job.category, §8.1)": "category",
    "job.min_reputation (§3.1)": "min_reputation_ppm",
    "job.selection_strategy (§3.2)": "selection_strategy",
    "job.created_at (§6.2)": "created_at",
    "job.storage.min_disk_mb (§7.2)": "storage.min_disk_mb",
}
