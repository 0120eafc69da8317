import signal
import subprocess
import sys
from pathlib import Path

from kbit.store.owner import is_alive, this_process
from kbit.study.workspace import remove_left_behind, workspace


def test_a_killed_process_leaves_nothing_for_long(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom kbit.study.workspace import workspace\n"
        "with workspace(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'model').write_text('x'); print('in', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    (left,) = tmp_path.iterdir()
    assert remove_left_behind(tmp_path) == []  # its process lives
    child.send_signal(signal.SIGKILL)
    child.communicate()
    (tmp_path / "kbit-study@elsewhere:1:1@abc").mkdir()  # another host's, on a disk both see
    with workspace(tmp_path) as own:
        assert not left.exists()
        assert own.is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ["kbit-study@elsewhere:1:1@abc"]


def test_a_number_given_to_another_process_is_not_the_old_one() -> None:
    host, pid, started = this_process().split(":")
    assert is_alive(f"{host}:{pid}:{started}") is True
    assert is_alive(f"{host}:{pid}:{int(started) + 1}") is False
    assert is_alive(f"elsewhere:{pid}:{started}") is None
    assert is_alive("rubbish") is None
