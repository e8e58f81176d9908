"""`bnguard run` from the outside: a program runs as without, and the report follows."""

import os
import signal
import subprocess
import sys
import time
import zipfile

import pytest
from support import forked
from support.paths import ROOT

pytestmark = pytest.mark.slow

ENVIRONMENT = {**os.environ, "PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "3"}
NOTHING = "nothing to watch: the program did not import TensorFlow"
GRAPH = """
import sys, traceback
import bnguard
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
x = tf.placeholder(tf.float32, [None, 2], name="x")
y = tf.identity(bnguard.batch_norm(x, is_training=True, updates_collections=None), name="y")
"""
START = "session = tf.Session()\nsession.run(tf.global_variables_initializer())\n"


def python(folder, *arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        **options,
    )


def watched(folder, *arguments):
    return python(folder, "-m", "bnguard", "run", *arguments)


def write(folder, text, name="program.py"):
    (folder / name).write_text(text, encoding="utf-8")


class TestWithoutTensorFlow:
    SHOWS = (
        "import sys; print(sys.argv, sys.path[0], __name__, __file__, __spec__ is None,"
        " sys.modules['__main__'].__dict__ is globals())"
    )

    def test_a_program_sees_what_it_sees_without(self, tmp_path):
        (tmp_path / "inner").mkdir()
        write(tmp_path / "inner", self.SHOWS)
        alone = python(tmp_path, "inner/program.py", "--stop", "a b")
        run = watched(tmp_path, "inner/program.py", "--stop", "a b")
        assert run.stdout == alone.stdout
        assert run.returncode == alone.returncode == 0
        assert run.stderr.splitlines() == ["bnguard: inner/program.py", NOTHING]

    def test_a_module_and_its_options_are_not_taken_for_ours(self, tmp_path):
        write(tmp_path, "import sys; print(sys.argv[1:], sys.path[0], __name__)")
        alone = python(tmp_path, "-m", "program", "--json", "-m")
        run = watched(tmp_path, "-m", "program", "--json", "-m")
        assert (run.stdout, run.returncode) == (alone.stdout, 0)

    @pytest.mark.parametrize("program", [["app"], ["app.zip"], ["-m", "app"], ["-m", "app.sub"]])
    def test_a_package_a_folder_and_an_archive_see_what_they_see_without(self, program, tmp_path):
        """A thread that outlives the main program sees the same module and arguments."""
        (tmp_path / "app").mkdir()
        thread = f"threading.Thread(target=lambda: (time.sleep(0.1), exec({self.SHOWS!r}))).start()"
        text = f"import threading, time\n{self.SHOWS}\nprint(__spec__.name)\n{thread}\n"
        for name in ("__main__.py", "sub.py"):
            write(tmp_path / "app", text, name)
        with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
            archive.writestr("__main__.py", text)
        alone = python(tmp_path, *program, "-m", "a b")
        run = watched(tmp_path, *program, "-m", "a b")
        assert (alone.returncode, len(alone.stdout.splitlines())) == (0, 3)
        assert (run.stdout, run.returncode) == (alone.stdout, 0)

    @pytest.mark.parametrize("program", [["empty"], ["-m", "nosuch"], ["-m", "json"]])
    def test_what_has_no_main_program_is_told_as_without(self, program, tmp_path):
        (tmp_path / "empty").mkdir()
        alone, run = python(tmp_path, *program), watched(tmp_path, *program)
        assert run.returncode == alone.returncode == 1
        assert run.stderr.startswith(alone.stderr)

    @pytest.mark.parametrize(
        "code", ["sys.exit(3)", "sys.exit('a reason')", "sys.exit()", "raise ValueError('no')"]
    )
    def test_the_end_is_that_of_the_program(self, tmp_path, code):
        write(tmp_path, f"import sys\ndef end():\n    {code}\nend()\n")
        alone, run = python(tmp_path, "program.py"), watched(tmp_path, "program.py")
        assert run.returncode == alone.returncode
        assert run.stderr == f"{alone.stderr}bnguard: program.py\n{NOTHING}\n"

    @pytest.mark.parametrize(
        ("redirection", "unbuffered", "code"),
        [
            ("| head -n 1", "", "print('\\n' * 10 ** 6)"),
            ("> /dev/full", "1", "print('lost')"),
            ("| cat", "1", "print(sys.stdout.write_through, end='')\ntime.sleep(0.1)\nos._exit(3)"),
            (">&-", "", "print(sys.stdout)"),
            ("2>&-", "", "sys.exit('nowhere to tell')"),
            ("| cat", "", "sys.stderr = None\nprint(sys.stdout.errors, '\\xe9')"),
            ("| cat", "", "sys.stderr.close()\nsys.exit(4)"),
        ],
    )
    def test_the_streams_are_those_of_the_program(self, tmp_path, redirection, unbuffered, code):
        """Closed, full, without a reader, or of ASCII; also if the program closes them."""
        write(tmp_path, f"import os, sys, time\n{code}\n")
        environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered, "PYTHONIOENCODING": "ascii"}
        ends = []
        for start in ("", "-m bnguard run"):
            command = f"{sys.executable} {start} program.py {redirection}; echo ${{PIPESTATUS[@]}}"
            process = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True
            )
            ends.append((process.stdout, process.stderr))
        (output, errors), (own_output, own_errors) = ends
        assert own_output == output
        report = f"bnguard: program.py\n{NOTHING}\n".encode()
        is_told = redirection != "2>&-" and "_exit" not in code
        assert own_errors.count(report) == int(is_told)
        assert own_errors.replace(report, b"") == errors

    def test_a_report_that_cannot_be_written_is_status_2_unless_the_program_fails(self, tmp_path):
        write(tmp_path, "import sys\nsys.exit(int(sys.argv[1]))\n")
        command = "for n in 0 3; do $0 -m bnguard run program.py $n 2> /dev/full; echo $?; done"
        process = subprocess.run(
            ["bash", "-c", command, sys.executable],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
        )
        assert process.stdout.split() == [b"2", b"3"]

    def test_the_threads_of_the_program_end_first(self, tmp_path):
        """Those of an executor, which wait for work; and a thread that a thread starts."""
        text = """import concurrent.futures, threading, sys, time
def late(number):
    time.sleep(0.1)
    print(number, flush=True)
    if number < 3:
        threading.Thread(target=late, args=(number + 1,)).start()
executor = concurrent.futures.ThreadPoolExecutor(2)
executor.submit(print, "work")
threading.Thread(target=late, args=(1,)).start()
sys.exit(5)
"""
        write(tmp_path, text)
        run = subprocess.run(
            [sys.executable, "-m", "bnguard", "run", "program.py"],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=60,
        )
        assert run.returncode == 5
        report = f"bnguard: program.py\n{NOTHING}\n"
        assert run.stdout == f"work\n1\n2\n3\n{report}"

    def test_a_forked_child_does_not_report(self, tmp_path):
        write(tmp_path, "import os\nif os.fork() == 0:\n    raise SystemExit(0)\nos.wait()\n")
        assert watched(tmp_path, "program.py").stderr.count(NOTHING) == 1

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_the_program_and_the_report_follows(self, tmp_path, number):
        at_exit = "import atexit, time\natexit.register(print, 'at exit')\n"
        write(tmp_path, f"{at_exit}print('up', flush=True)\ntime.sleep(60)\n")
        process = subprocess.Popen(
            [sys.executable, "-m", "bnguard", "run", "program.py"],
            cwd=str(tmp_path),
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        assert process.stdout.readline() == "up\n"
        started = time.time()
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
        assert time.time() - started < 30
        assert process.returncode == -number  # so that a loop of the shell ends
        assert output == ("at exit\n" if number == signal.SIGINT else "")
        assert errors.endswith(f"bnguard: program.py\n{NOTHING}\n")
        assert ("KeyboardInterrupt" in errors) is (number == signal.SIGINT)

    @pytest.mark.parametrize("arguments", [(), ("missing.py",), ("--json",), ("--for", "0", "x")])
    def test_a_mistake_is_one_line_and_status_2(self, tmp_path, arguments):
        run = watched(tmp_path, *arguments)
        assert run.returncode == 2
        assert run.stderr.startswith("Error: ")
        assert run.stderr.count("\n") == 1


class TestWithTensorFlow:
    def test_sigterm_ends_a_step_that_waits_forever(self, tmp_path):
        """Python runs no handler while a session's step blocks the main thread."""
        waits = "session.run(tf.FIFOQueue(1, tf.float32).dequeue())\n"
        write(tmp_path, f"{GRAPH}{START}print('up', flush=True)\n{waits}")
        command = forked.Command(tmp_path, "run", "program.py", cwd=tmp_path)
        output = tmp_path / "stdout"
        try:
            command.wait_for(lambda: output.exists() and "up" in output.read_text())
            time.sleep(0.5)  # until the step waits; before that the handler runs, to the same end
            status, _, errors = command.send(signal.SIGTERM)
        finally:
            command.send(signal.SIGKILL)
        assert status == -signal.SIGTERM
        assert "bnguard: program.py\n1 x  init " in errors

    def test_the_tracebacks_are_those_without(self, tmp_path):
        """In what the program prints, in what ends it, and in what TensorFlow tells of an op."""
        caught = "try:\n    session.run(y)\nexcept Exception:\n    traceback.print_exc()\n"
        write(tmp_path, f"{GRAPH}{START}{caught}session.run(y)\n")
        alone = python(tmp_path, "program.py")
        status, _, errors = forked.run(tmp_path, "run", "program.py", cwd=tmp_path)
        assert "placeholder" in alone.stderr.lower()
        assert status == alone.returncode == 1
        first = alone.stderr.index("Traceback")  # the import of TensorFlow says more before
        start, report = errors.index("Traceback"), errors.index("bnguard: program.py\n")
        assert errors[start:report].count("\n") == alone.stderr[first:].count("\n")
        assert "click" not in errors[:report]
        assert errors[report:].count("program.py:") >= 2
