"""What to write instead of a key that does not exist: OpsWorks' names, keys of other places, slips of the pen."""

from __future__ import annotations

import re
from collections.abc import Collection

from opsflow.errors import did_you_mean as closest_question
from opsflow.model.instance import MachineSettings

RENAMED = {
    "app_source": "source",
    "auto_scaling_schedule": "hours",
    "auto_scaling_type": "runs",
    "cloud_watch_logs_configuration": "logs",
    "cpu_threshold": "cpu",
    "custom_instance_profile_arn": "machine: {instance_profile_arn: ...}",
    "custom_json": "attributes",
    "custom_recipes": "recipes",
    "custom_security_group_ids": "security_group_ids",
    "default_availability_zone": "machine: {availability_zone: ...}",
    "default_instance_profile_arn": "machine: {instance_profile_arn: ...}",
    "default_os": "machine: {os: ...}",
    "default_root_device_type": "machine: {root_device_type: ...}",
    "default_ssh_key_name": "machine: {ssh_key_name: ...}",
    "default_subnet_id": "machine: {subnet_id: ...}",
    "delay_until_elb_connections_drained": "drain",
    "down_scaling": "down",
    "ebs": "block_device_mappings",
    "elastic_load_balancer_name": "elastic_load_balancer",
    "enable": "enabled",
    "enable_auto_healing": "auto_healing",
    "env": "environment",
    "execution_timeout": "timeout",
    "ignore_metrics_time": "ignore",
    "instance_count": "instances",
    "lifecycle_event_configuration": "shutdown",
    "load_based_auto_scaling": "scaling",
    "load_threshold": "load",
    "log_streams": "logs",
    "memory_threshold": "memory",
    "rds_db_instance_arn": "arn",
    "thresholds_wait_time": "wait",
    "time_based_auto_scaling": "hours",
    "up_scaling": "up",
    "url": "git, archive, s3 or directory",
    "use_ebs_optimized_instances": "machine: {ebs_optimized: ...}",
    "volume_configurations": "volumes",
    "weekly_auto_scaling_schedule": "hours",
}
"""OpsWorks' field -> ours, where it is another word."""

_CHEF = "recipes are Python functions; there is no Chef and nothing to configure for it"
_KEY = "the name is the key: write 'NAME:' and its settings below"
_COOKBOOKS = "recipes are in the project; other directories of it go into 'recipe_paths'"
ABSENT = {
    "agent_version": "there is no agent: recipes come over SSH",
    "auto_bundle_on_deploy": "write it as a step of the deploy recipe",
    "chef_configuration": _CHEF,
    "configuration_manager": _CHEF,
    "custom_cookbooks_source": _COOKBOOKS,
    "default_security_group_names": "built-in security groups do not exist; write 'security_group_ids'",
    "ecs_cluster_arn": "ECS clusters are not managed; deploy containers with a recipe",
    "hostname": _KEY,
    "infrastructure_class": "'compute' says where machines come from; static means machines that exist already",
    "layer_ids": "write the layers' names under 'layers'",
    "manage_berkshelf": _CHEF,
    "platform": "all machines run Linux",
    "reported_os": "it is read from the machine: 'opsflow facts'",
    "run_list": "write the recipes of each event under the layer's 'recipes'",
    "shortname": _KEY,
    "use_custom_cookbooks": _COOKBOOKS,
    "virtualization_type": "every machine is hvm; paravirtual machines no longer exist",
}
"""OpsWorks' fields that have no meaning here -> why."""


def instead_of(key: str, known: Collection[str]) -> str:
    """What is right, for a key that is not one of ``known``."""
    name = _snake_case(key)
    if name in known:
        return f"write '{name}'"
    if name in ABSENT:
        return ABSENT[name]
    if RENAMED.get(name, "").split(":")[0].split(",")[0] in known:
        return f"write '{RENAMED[name]}'"
    if "machine" in known and name in MachineSettings.model_fields:
        return f"write 'machine: {{{name}: ...}}'"
    close = did_you_mean(name, known)
    if close is None and name in RENAMED:
        return f"this is called '{RENAMED[name]}', in another place"
    return close or f"known keys: {', '.join(known)}"


def did_you_mean(name: str, known: Collection[str]) -> str | None:
    """A question that names the most similar known name."""
    # Comparing is slow; a file that is all wrong must not take minutes to say so.
    return closest_question(name[:60].lower(), list(known)[:200])


def _snake_case(key: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", key)
    return words.replace("-", "_").replace(" ", "_").lower()
