/* What the helper must not be able to do, whatever the handler tries. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(errno_) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (errno_))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define DENY(call, errno_) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), ANSWER(errno_)
/* Only with arg0 (a process id) equal to pid; loads are of the low half, which is where ids are. */
#define OWN(call, pid) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 4), LOAD(args[0]), \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, pid, 0, 1), ALLOW, ANSWER(EPERM)

/*
 * forbid leaves threads but takes away processes: a handler that forks would leave children behind which the target does not
 * know, with the region mapped and files open. Nor may it signal, trace or write into other processes. What is denied answers
 * EPERM; clone3, whose flags a filter cannot see, answers ENOSYS, and the C library falls back to clone.
 */
static void forbid(void)
{
#ifdef ARCH
	unsigned pid = getpid();
	struct sock_filter filter[] = {
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
		ANSWER(ENOSYS),
		LOAD(nr),
#ifdef __x86_64__
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* the x32 calls */
		ANSWER(ENOSYS),
#endif
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 4),
		LOAD(args[0]),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
		ALLOW,
		ANSWER(EPERM),
		OWN(__NR_kill, pid),
		OWN(__NR_tgkill, pid),
		OWN(__NR_rt_tgsigqueueinfo, pid),
		DENY(__NR_clone3, ENOSYS),
#ifdef __NR_fork
		DENY(__NR_fork, EPERM),
		DENY(__NR_vfork, EPERM),
#endif
		DENY(__NR_tkill, EPERM),
		DENY(__NR_ptrace, EPERM),
		DENY(__NR_process_vm_writev, EPERM),
		DENY(__NR_pidfd_send_signal, EPERM),
		DENY(__NR_rt_sigqueueinfo, EPERM),
		DENY(__NR_setpgid, EPERM), /* the target kills the group */
		DENY(__NR_setsid, EPERM),
		ALLOW,
	};
	struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		say('W', "no seccomp filter (%s): a handler may fork", strerror(errno));
#endif
}

/* Memory that a handler takes must not cost the target: of the two, the kernel's OOM killer takes the helper. */
static void be_first_to_go(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1000", 4) != 4)
		say('W', "oom_score_adj: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

void confine(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int sig = 1; sig < SIGRTMIN; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			signal(sig, SIG_DFL); /* what the target ignores is inherited */
	signal(SIGPIPE, SIG_IGN);
	struct rlimit no_core = {0, 0};
	setrlimit(RLIMIT_CORE, &no_core); /* guests' data must not end in a core file */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		fail("no_new_privs: %s", strerror(errno));
	be_first_to_go();
	forbid();
}
