"""Run a composite action of GitHub as its runner does, as far as action.yml needs it."""

import os
import re
import subprocess

import yaml

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_EQUALITY = re.compile(r"([\w.-]+) (==|!=) '([^']*)'")


class ActionRun:
    """A run of the action in a checkout.

    Args:
      action: the folder of action.yml.
      workspace: the checkout.
      temporary: the runner's folder for temporary files.
      environment: the environment of the steps.
      without: names of steps that are left out.
      inputs: of the action; `_` stands for `-` in their names.

    Attributes:
      status: the status of the step that failed, or 0.
      output: what the steps have printed.
      outputs: of the action, by name.
      summary: the summary of the job, in Markdown.
      uploaded: what the steps that use other actions were given.
    """

    def __init__(self, action, workspace, temporary, environment, without=(), **inputs):
        with open(os.path.join(action, "action.yml"), encoding="utf-8") as file:
            self._action = yaml.safe_load(file)
        self._context = {"github.action_path": action}
        for name, declared in self._action["inputs"].items():
            self._context[f"inputs.{name}"] = declared["default"]
        for name, value in inputs.items():
            assert f"inputs.{name.replace('_', '-')}" in self._context, name
            self._context[f"inputs.{name.replace('_', '-')}"] = value
        self._workspace, self._temporary, self._environment = workspace, temporary, environment
        self.status, self.output, self.summary, self.uploaded = 0, "", "", []
        assert self._action["runs"]["using"] == "composite"
        for step in self._action["runs"]["steps"]:
            is_wanted = step["name"] not in without and self._is_true(step.get("if", "true"))
            if self.status == 0 and is_wanted:
                self._run(step)
        self.outputs = {
            name: self._filled(output["value"]) for name, output in self._action["outputs"].items()
        }

    def _run(self, step):
        if "uses" in step:
            given = {name: self._filled(value) for name, value in step["with"].items()}
            self.uploaded.append((step["uses"], given))
            return
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "an input in a script can inject commands"
        files = {
            name: self._file(name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        }
        result = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=str(self._workspace),
            env={
                **self._environment,
                **files,
                "RUNNER_TEMP": str(self._temporary),
                **{name: self._filled(value) for name, value in step.get("env", {}).items()},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self.status = result.returncode
        self.output += result.stdout
        with open(files["GITHUB_STEP_SUMMARY"], encoding="utf-8") as file:
            self.summary += file.read()
        with open(files["GITHUB_OUTPUT"], encoding="utf-8") as file:
            for line in file:
                name, _, value = line.rstrip("\n").partition("=")
                self._context[f"steps.{step['id']}.outputs.{name}"] = value

    def _file(self, name):
        path = os.path.join(str(self._temporary), name)
        with open(path, "w", encoding="utf-8"):
            return path

    def _filled(self, text):
        return _EXPRESSION.sub(lambda match: self._value(match.group(1)), text)

    def _value(self, name):
        """Return a value of the context; GitHub has none for what a step did not set."""
        if name.startswith("steps."):
            return self._context.get(name, "")
        return self._context[name]

    def _is_true(self, condition):
        if condition == "true":
            return True
        (text,) = _EXPRESSION.findall(condition)
        terms = [_EQUALITY.fullmatch(term) for term in text.split(" && ")]
        return all(
            (self._value(name) == value) is (operator == "==")
            for name, operator, value in (term.groups() for term in terms)
        )
