"""Stack files that are YAML but no stack: every problem, where it is, and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stack_files import HEAD, LAYERS, load, only_problem, pointed_at, problems

from opsflow.config.words import ABSENT, RENAMED, did_you_mean, instead_of
from opsflow.model.stack import Stack


def test_all_problems_of_a_file_at_once_in_the_order_of_its_lines(tmp_path: Path) -> None:
    text = """\
stack: Shop
compute: {provider: sandbx}
layers:
  app:
    recipes: [base, 3]
    auto_healing: "yes"
    instances:
      app1:
      app2: {layers: [ap]}
    scaling:
      up: {cpu: 180, wait: "5"}
apps:
  shop:
    layers: [web]
    source: {git: ./x, archive: ./y.tar}
schedules:
  nightly: {cron: "0 25 * * *", event: config, instances: [app3]}
  nightly: {}
descripton: x
"""
    found = problems(tmp_path, text)
    assert [(one.line, one.column, one.path) for one in found] == [
        (1, 8, "stack"),
        (2, 21, "compute/provider"),
        (5, 21, "layers/app/recipes/1"),
        (6, 19, "layers/app/auto_healing"),
        (8, 12, "layers/app/instances/app1"),
        (9, 23, "layers/app/instances/app2/layers/0"),
        (11, 17, "layers/app/scaling/up/cpu"),
        (11, 28, "layers/app/scaling/up/wait"),
        (14, 14, "apps/shop/layers/0"),
        (15, 33, "apps/shop/source/archive"),
        (17, 19, "schedules/nightly/cron"),
        (17, 40, "schedules/nightly/event"),
        (17, 60, "schedules/nightly/instances/0"),
        (18, 3, "schedules/nightly"),
        (19, 1, "descripton"),
    ]


def test_a_problem_in_print(tmp_path: Path) -> None:
    problem = only_problem(tmp_path, HEAD + "layers:\n  app:\n    auto_heeling: true\n")
    assert str(problem) == (
        f"{tmp_path}/shop.yml:5:5: layers/app/auto_heeling: unknown key\n"
        "        auto_heeling: true\n"
        "        ^\n"
        "    did you mean 'auto_healing'?"
    )


class TestKeys:
    @pytest.mark.parametrize(
        ("where", "key", "hint"),
        [
            ("", "layer: {}", "did you mean 'layers'?"),
            ("", "Apps: {}", "write 'apps'"),
            ("", "custom_json: {}", "write 'attributes'"),
            ("", "CustomJson: {}", "write 'attributes'"),
            ("", "default_os: x", "write 'machine: {os: ...}'"),
            ("", "instance_type: x", "write 'machine: {instance_type: ...}'"),
            ("", "hostname-theme: x", "write 'hostname_theme'"),
            ("", "configuration_manager: {}", "there is no Chef"),
            ("", "UseCustomCookbooks: true", "recipe_paths"),
            ("", "xyzzy: 1", "known keys: stack, compute, layers"),
            ("layers: {app: {", "enable_auto_healing: true", "write 'auto_healing'"),
            ("layers: {app: {", "CustomRecipes: {}", "write 'recipes'"),
            ("layers: {app: {", "LifecycleEventConfiguration: {}", "write 'shutdown'"),
            ("layers: {app: {", "volume_configurations: []", "write 'volumes'"),
            ("layers: {app: {", "shortname: x", "the name is the key"),
            ("layers: {app: {", "load_based_auto_scaling: {}", "write 'scaling'"),
            ("layers: {app: {shutdown: {", "execution_timeout: 3", "write 'timeout'"),
            ("layers: {app: {scaling: {", "up_scaling: {}", "write 'up'"),
            ("layers: {app: {scaling: {", "enable: true", "write 'enabled'"),
            ("layers: {app: {scaling: {up: {", "cpu_threshold: 80", "write 'cpu'"),
            ("layers: {app: {scaling: {up: {", "ThresholdsWaitTime: 5", "write 'wait'"),
            ("layers: {app: {instances: {app1: {", "auto_scaling_type: load", "write 'runs'"),
            ("layers: {app: {instances: {app1: {", "agent_version: 1", "there is no agent"),
            ("layers: {app: {instances: {app1: {", "attribute: {}", "did you mean 'attributes'?"),
            ("layers: {app: {recipes: {", "setups: []", "did you mean 'setup'?"),
        ],
    )
    def test_unknown(self, tmp_path: Path, where: str, key: str, hint: str) -> None:
        rest = "" if where.startswith("layers") else LAYERS
        found = problems(tmp_path, HEAD + rest + where + key + "}" * where.count("{") + "\n")
        unknown = [one for one in found if one.message == "unknown key"]
        assert len(unknown) == 1
        assert hint in (unknown[0].hint or "")
        assert pointed_at(unknown[0]).startswith(key)

    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("stack: shop\nlayers: {a: {}}\n", "compute"),
            ("compute: {provider: sandbox}\nlayers: {a: {}}\n", "stack"),
            (HEAD, "layers"),
            ("stack: shop\ncompute: {}\nlayers: {a: {}}\n", "compute/provider"),
            (HEAD + LAYERS + "apps: {shop: {layers: [app]}}\n", "apps/shop/source"),
        ],
    )
    def test_missing(self, tmp_path: Path, text: str, path: str) -> None:
        problem = only_problem(tmp_path, text)
        parent, _, key = path.rpartition("/")
        assert problem.message == f"the key '{key}' is missing"
        assert problem.path == parent
        assert problem.line is not None

    def test_a_missing_section_is_written_out_in_the_hint(self, tmp_path: Path) -> None:
        assert only_problem(tmp_path, "stack: shop\nlayers: {a: {}}\n").hint == "write compute: {provider: sandbox}"
        text = HEAD + LAYERS + "apps: {shop: {layers: [app]}}\n"
        assert only_problem(tmp_path, text).hint == "write source: {directory: PATH}"

    def test_every_renamed_key_leads_to_one_that_exists(self) -> None:
        names = {name for model in every_model() for name in model.model_fields}
        for key, here in RENAMED.items():
            for name in here.split(":")[0].replace(" or ", ", ").split(", "):
                assert name in names, key
        assert not RENAMED.keys() & ABSENT.keys()

    def test_no_absent_key_exists(self) -> None:
        names = {name for model in every_model() for name in model.model_fields}
        assert not names & ABSENT.keys()

    @given(st.text(), st.lists(st.text(min_size=1), max_size=5))
    def test_any_key_gets_an_answer(self, key: str, known: list[str]) -> None:
        assert instead_of(key, known)
        did_you_mean(key, known)


def every_model() -> list[type]:
    from pydantic import BaseModel

    import opsflow.config  # noqa: F401  (all models of a stack are imported)

    def below(model: type[BaseModel]) -> list[type[BaseModel]]:
        return [model, *(deeper for one in model.__subclasses__() for deeper in below(one))]

    return [one for one in below(BaseModel) if one.__module__.startswith("opsflow.model")]


class TestTypes:
    """No value is silently turned into another."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("layers: {a: {auto_healing: 'true'}}", "should be true or false, is text"),
            ("layers: {a: {auto_healing: 1}}", "should be true or false, is a number"),
            ("layers: {a: {shutdown: {timeout: true}}}", "should be a number, is true"),
            ("layers: {a: {shutdown: {timeout: '120'}}}", "should be a number, is text"),
            ("layers: {a: {scaling: {up: {wait: 5.5}}}}", "should be a whole number, is a number"),
            ("layers: {a: {scaling: {up: {wait: true}}}}", "should be a whole number, is true"),
            ("layers: {a: {scaling: {up: {cpu: 101}}}}", "should be at most 100, is 101"),
            ("layers: {a: {scaling: {up: {instances: 0}}}}", "should be at least 1, is 0"),
            ("layers: {a: {name: 5}}", "should be text, is a number"),
            ("layers: {a: {name: true}}", "should be text, is true"),
            ("layers: {a: {name: [x]}}", "should be text, is a list"),
            ("layers: {a: {packages: nginx}}", "should be a list, is text"),
            ("layers: {a: {packages: {nginx: 1}}}", "should be a list, is a mapping"),
            ("layers: {a: {packages: [1.5]}}", "should be text, is a number"),
            ("layers: {a: {packages: [null]}}", "should be text, is empty"),
            ("layers: {a: {instances: [a1]}}", "should be a mapping (KEY: VALUE), is a list"),
            ("layers: {a: {instances: {a1: }}}", "should be a mapping (KEY: VALUE), is empty"),
            ("layers: {a: {recipes: base}}", "should be a mapping (KEY: VALUE), is text"),
            ("layers: {a: {recipes: {setup: base.setup}}}", "should be a list, is text"),
            ("layers: [a]", "should be a mapping (KEY: VALUE), is a list"),
            ("layers: {}", "should be at least 1 entries"),
            ("layers: {a: {}}\nattributes: [1]", "should be a mapping (KEY: VALUE), is a list"),
            ("layers: {a: {}}\ntimeouts: {boot: 0}", "should be more than 0, is 0"),
            ("layers: {a: {}}\nhostname_theme: Colours", "should be one of Layer_Dependent, Baked_Goods"),
            ("layers: {a: {}}\ndescription: null", "should be text, is empty"),
            ("layers: {a: {machine: {ami_id: ami-XYZ}}}", "has the wrong form, is 'ami-XYZ'"),
        ],
    )
    def test_wrong(self, tmp_path: Path, text: str, message: str) -> None:
        assert message in only_problem(tmp_path, HEAD + text + "\n").message

    def test_a_number_where_text_is_wanted_only_needs_quotes(self, tmp_path: Path) -> None:
        assert only_problem(tmp_path, HEAD + "layers: {a: {name: 5}}\n").hint == "put it in quotes"

    @pytest.mark.parametrize("number", ["-1", "2147483648", "9223372036854775808", "1e309", ".nan"])
    def test_absurd_numbers(self, tmp_path: Path, number: str) -> None:
        assert only_problem(tmp_path, HEAD + f"layers: {{a: {{shutdown: {{timeout: {number}}}}}}}\n").line == 3

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ("layers: {a: {instances: {a1: }}}", "write 'a1: {}' where nothing is to be said"),
            ("layers: {a: {instances: [a1, a2]}}", "write {a1: {}, ...}"),
            ("layers: {a: {recipes: base}}", "write [base]"),
            ("layers: {a: {packages: nginx}}", "write [nginx]"),
            ("layers: {a: {shutdown: 120}}", "known keys: timeout, drain"),
        ],
    )
    def test_what_was_most_likely_meant(self, tmp_path: Path, text: str, hint: str) -> None:
        assert only_problem(tmp_path, HEAD + text + "\n").hint == hint

    def test_a_close_choice_is_suggested(self, tmp_path: Path) -> None:
        problem = only_problem(tmp_path, HEAD + "layers: {a: {instances: {a1: {runs: loads}}}}\n")
        assert problem.message == "should be one of always, time, load, is 'loads'"
        assert problem.hint == "did you mean 'load'?"

    def test_the_short_forms(self, tmp_path: Path) -> None:
        loaded = load(
            tmp_path,
            HEAD + "layers: {a: {recipes: [base], instances: {a1: {runs: time, hours: {mon: 8}}}}}\n"
            "apps: {shop: {layers: [a], source: {git: ./x}, environment: {PORT: 80, RATIO: 1.5, NAME: x}}}\n",
        )
        assert loaded.stack.layers["a"].recipes.modules == ("base",)
        assert loaded.stack.members["a1"].hours == {"mon": frozenset({8})}
        values = {key: entry.value.get_secret_value() for key, entry in loaded.stack.apps["shop"].environment.items()}
        assert values == {"PORT": "80", "RATIO": "1.5", "NAME": "x"}


class TestNames:
    @pytest.mark.parametrize(
        "name",
        ["Shop", "-rf", "--help", ".", "..", "con", "CON", "null", "a b", "a/b", "sh\u043ep", "a\u200bb", "e\u0301"],
    )
    @pytest.mark.parametrize(
        "text",
        [
            "layers: {%s: {}}\n",
            "layers: {a: {instances: {%s: {}}}}\n",
            "layers: {a: {}}\ninstances: {%s: {layers: [a]}}\n",
            "layers: {a: {}}\napps: {%s: {layers: [a], source: {git: ./x}}}\n",
            "layers: {a: {}}\nschedules: {%s: {cron: '@daily', event: setup}}\n",
        ],
    )
    def test_a_bad_name_is_pointed_at_as_a_key(self, tmp_path: Path, text: str, name: str) -> None:
        problem = problems(tmp_path, HEAD + text % f'"{name}"')[0]
        assert pointed_at(problem).startswith(f'"{name}"')

    def test_the_name_of_the_stack_is_that_of_its_file(self, tmp_path: Path) -> None:
        (tmp_path / "stacks").mkdir()
        problem = only_problem(tmp_path / "stacks", "stack: store\ncompute: {provider: sandbox}\n" + LAYERS)
        assert problem.message == "is 'store', but the file is called 'shop.yml'"
        assert (problem.line, problem.column) == (1, 8)

    def test_a_recipe_needs_a_module(self, tmp_path: Path) -> None:
        problem = only_problem(tmp_path, HEAD + "layers: {a: {recipes: {setup: [setup]}}}\n")
        assert "nginx.setup" in problem.message

    @pytest.mark.parametrize("path", ["/recipes", "../recipes", "a/../../b", "~/recipes", "", "a/.."])
    def test_recipes_stay_inside_the_project(self, tmp_path: Path, path: str) -> None:
        problem = only_problem(tmp_path, HEAD + LAYERS + f'recipe_paths: ["{path}"]\n')
        assert problem.path == "recipe_paths/0"


class TestReferences:
    def test_an_unknown_layer_of_an_app(self, tmp_path: Path) -> None:
        text = HEAD + LAYERS + "apps:\n  shop:\n    layers: [app, ap, lb]\n    source: {git: ./x}\n"
        first, second = problems(tmp_path, text)
        assert (first.line, first.column, first.message) == (6, 19, "there is no layer 'ap'")
        assert first.hint == "did you mean 'app'?"
        assert second.hint == "there are: app"

    def test_an_unknown_layer_of_an_instance(self, tmp_path: Path) -> None:
        problem = only_problem(tmp_path, HEAD + "layers: {app: {instances: {app1: {layers: [lb]}}}}\n")
        assert problem.path == "layers/app/instances/app1/layers/0"

    def test_a_schedule(self, tmp_path: Path) -> None:
        text = HEAD + LAYERS + "schedules: {s: {cron: '@daily', event: setup, layers: [x], instances: [app2, app1]}}\n"
        assert [(one.path, one.hint) for one in problems(tmp_path, text)] == [
            ("schedules/s/layers/0", "there are: app"),
            ("schedules/s/instances/0", "did you mean 'app1'?"),
        ]

    def test_an_instance_in_two_places(self, tmp_path: Path) -> None:
        text = (
            HEAD + "layers:\n  a: {instances: {x1: {}}}\n  b: {instances: {x1: {}}}\ninstances: {x1: {layers: [a]}}\n"
        )
        assert [(one.line, one.path) for one in problems(tmp_path, text)] == [
            (5, "layers/b/instances/x1"),
            (6, "instances/x1"),
        ]

    def test_an_instance_without_layers(self, tmp_path: Path) -> None:
        problem = only_problem(tmp_path, HEAD + LAYERS + "instances: {x1: {}}\n")
        assert (problem.path, problem.message) == ("instances/x1", "instance 'x1' needs layers")

    def test_they_are_reported_beside_other_problems(self, tmp_path: Path) -> None:
        text = HEAD + LAYERS + "descripton: x\napps: {shop: {layers: [ap], source: {git: ./x}}}\n"
        assert [one.path for one in problems(tmp_path, text)] == ["descripton", "apps/shop/layers/0"]

    def test_the_model_refuses_them_too(self) -> None:
        data = {
            "stack": "shop",
            "compute": {"provider": "sandbox"},
            "layers": {"app": {}},
            "apps": {"shop": {"layers": ["a", "b"], "source": {"git": "x"}}},
        }
        with pytest.raises(ValueError, match="no layer 'a'.*no layer 'b'"):
            Stack.model_validate(data)


class TestSecrets:
    SECRET = "hunter2-hunter2"

    @pytest.mark.parametrize(
        "text",
        [
            "apps: {s: {layers: [app], source: {git: ./x, password: SECRET, ssh_key: [SECRET]}}}",
            "apps: {s: {layers: [app], source: {git: ./x, pasword: SECRET}}}",
            "apps: {s: {layers: [app], source: {git: 'ext::https://me:SECRET@host/x'}}}",
            "apps: {s: {layers: [app], source: {git: 'https://me:SECRET@host/x', archive: x}}}",
            "apps: {s: {layers: [app], source: {git: ./x}, environment: {A: SECRET, B: {value: SECRET, secure: tru}}}}",
            "apps: {s: {layers: [app], source: {git: ./x}, environment: {A: SECRET, A: SECRET}}}",
            "apps: {s: {layers: [app], source: {git: ./x}, environment: {A: {value: 'SECRET', secur: true}}}}",
            'apps: {s: {layers: [app], source: {git: ./x}, environment: {A: {value: "SECRET\\0", secure: true}}}}',
            "apps: {s: {layers: [app], source: {git: ./x}, ssl_configuration: {certificate: x, private_key: SECRET}}}",
            "attributes: {db: {password: SECRET, password: SECRET}}",
            "attributes: {db: {api_key: SECRET, x: no}}",
            "attributes: {db: {password: SECRET",
            "attributes:\n  db:\n    password: 'SECRET",
            "attributes:\n  db:\n    password: x: SECRET",
            "apps:\n  s:\n    ssl_configuration:\n      private_key: |\n        SECRET\n       SECRET: x: y",
            "apps:\n  s:\n    environment:\n      ANY: [SECRET\n",
            "apps: {s: {\nenvironment: {\nANY: 'SECRET'\n: SECRET\n}}}}}",
            "rds_db_instances: [{rds_db_instance_arn: x, db_user: x, db_password: SECRET}]",
        ],
    )
    def test_are_in_no_message(self, tmp_path: Path, text: str) -> None:
        found = problems(tmp_path, HEAD + LAYERS + text.replace("SECRET", self.SECRET) + "\n")
        assert self.SECRET not in "\n".join(map(str, found))

    def test_numbers_that_are_secrets_are_not_repeated(self, tmp_path: Path) -> None:
        text = HEAD + LAYERS + "apps: {s: {layers: [app], source: {git: ./x, password: 0123456789}}}\n"
        assert "0123456789" not in str(only_problem(tmp_path, text))

    def test_names_of_layers_hide_nothing(self, tmp_path: Path) -> None:
        problem = only_problem(tmp_path, HEAD + "layers: {token-server: {name: 5, packages: [nginx]}}\n")
        assert "nginx" in str(problem)

    def test_escape_sequences_do_not_reach_the_terminal(self, tmp_path: Path) -> None:
        text = HEAD + 'layers: {a: {instances: {a1: {runs: "\\e[31mred", timezone: "\\a"}}}}\n'
        shown = "\n".join(map(str, problems(tmp_path, text)))
        assert "\x1b" not in shown
        assert "\x07" not in shown
