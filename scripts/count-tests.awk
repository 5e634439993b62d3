# SPDX-License-Identifier: MIT
# Counts single tests in a log of `meson test`: usage: awk -v ran=STATUS -f scripts/count-tests.awk testlog.txt, where
# STATUS is the exit status of meson test. Prints what was skipped or failed, how many cases the kernel tests went
# through and, last, `N passed, N failed`.
#
# Executables print TAP. One that stops before its plan is fulfilled fails for each test it leaves out; one that ends
# badly without a failed test fails once; one that prints no TAP counts as one test.
function finish(    missing, badly) {
    if (name == "") {
        return
    }
    badly = result != "exit status 0"
    missing = planned - seen
    if (planned + seen == 0) {
        if (result == "exit status 77") {
            skip(name)
        } else if (badly) {
            fail(name " (" result ")")
        } else {
            passed++
        }
    } else if (missing > 0) {
        failed += missing - 1
        fail(name ": " missing " of " planned " tests did not come to an end (" result ")")
    } else if (badly && !failed_here) {
        fail(name " (" result ")")
    }
    name = ""
}
function fail(what) {
    failed++
    failures[++failure_lines] = what
}
function skip(what) {
    skipped++
    skips[skipped] = what
}
function title(line) {
    sub(/^(not )?ok *[0-9]* *-? */, "", line)
    sub(/^# SKIP */, "", line)
    sub(/ *# SKIP.*/, "", line)
    return line
}
/^=+ +[0-9]+\/[0-9]+ +=+$/ { finish(); in_output = planned = seen = failed_here = 0; result = ""; next }
/^test: / && !in_output { name = $0; sub(/^test: */, "", name); next }
/^result: / && !in_output { result = $0; sub(/^result: */, "", result); next }
/^-+ stdout -+$/ { in_output = 1; next }
/^-+ stderr -+$/ { in_output = 2; next }
in_output != 1 { next }
/^1\.\.[0-9]+/ { split($0, plan, /\.\.| /); planned += plan[2]; next }
/^# [0-9]+ kernel cases$/ { kernel_cases += $2; next }
/^(not )?ok [0-9]*.*# SKIP/ { seen++; skip(name ": " title($0)); next }
/^ok / { seen++; passed++; next }
/^not ok / { seen++; failed_here = 1; fail(name ": " title($0)); next }
END {
    finish()
    for (i = 1; i <= skipped; i++) {
        print "skipped: " skips[i]
    }
    for (i = 1; i <= failure_lines; i++) {
        print "FAILED: " failures[i]
    }
    # meson itself failed though every test is well: something was not run at all.
    if (ran != 0 && failed == 0) {
        print "FAILED: meson test (exit status " ran ")"
        failed++
    }
    if (passed + failed + skipped == 0) {
        print "FAILED: no test was run"
        failed++
    }
    if (kernel_cases > 0) {
        print "kernel cases (kernel x level x shape x kind of input): " kernel_cases
    }
    printf "%d passed, %d failed", passed, failed
    if (skipped > 0) {
        printf ", %d skipped", skipped
    }
    printf "\n"
    exit failed > 0
}
