import sys, tempfile, json, os, subprocess
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))
import vm_disks, vm_machine, vm_jobs
d=vm_disks.ready(); print(d)
f=Path(tempfile.mkdtemp(prefix="vmrun-")); print(f)
jobs=[vm_jobs.Job("scenarios",("python3","-X","importtime","tests/vm/guest/scenarios.py","/results/jobs/scenarios",*("scenarios/"+n+".yaml" for n in sys.argv[1:])),500)]
m=subprocess.Popen([sys.executable,"/tmp/mon.py",str(f)],stdout=open(f/"mon","w"))
r=vm_machine.boot(d,jobs,f)
m.wait()
print(r.summary()); print((f/"mon").read_text())
for e in r.events:
    if e["event"]=="job":
        print(e["id"],e["exit"],e["seconds"],e["err"][-1500:])
        try:
            x=json.loads(e["out"]); print(x["verdict"],x["reason"],x["seconds"],x["environment"])
            for s in x["steps"]: print("  ",s["name"],s["verdict"],s["seconds"],s["reason"])
        except Exception as ex: print(ex, e["out"][-3000:])
