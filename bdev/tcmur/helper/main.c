/*
 * pollux-tcmur-helper: one handler of tcmu-runner, one device, one process. The target starts it; see doc.go one level up.
 *
 *   pollux-tcmur-helper handler=FILE cfg=STRING name=NAME size=BYTES block_size=BYTES threads=N abi=auto lock=1
 *   pollux-tcmur-helper probe=FILE abi=auto       prints what the handler is, a key=value per line
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"

#define STOP_SECONDS 5 /* for a clean close after the target has gone */
#define LOCK_TAG_ANY 0xffff

static struct {
	const char *handler, *probe, *cfg, *name, *abi;
	uint64_t size;
	uint32_t block_size;
	int threads;
	bool lock;
} args = {.abi = "auto", .cfg = "", .name = "", .lock = true};

/* ---- messages of the target: a thread reads them, so that its end is seen even while the handler's open blocks ---- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	char line[256];
	bool has, gone;
} inbox = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void post(const char *line, ssize_t n)
{
	pthread_mutex_lock(&inbox.lock);
	while (inbox.has && n > 0)
		pthread_cond_wait(&inbox.more, &inbox.lock);
	if (n > 0) {
		memcpy(inbox.line, line, n);
		inbox.line[n] = 0;
		inbox.has = true;
	} else {
		inbox.gone = true;
	}
	pthread_cond_broadcast(&inbox.more);
	pthread_mutex_unlock(&inbox.lock);
}

static void *listen_to_target(void *arg)
{
	(void)arg;
	char line[sizeof inbox.line];
	for (;;) {
		ssize_t n = recv(FD_CONTROL, line, sizeof line - 1, 0);
		if (n < 0 && errno == EINTR)
			continue;
		post(line, n);
		if (n <= 0)
			break;
	}
	sleep(STOP_SECONDS);
	_exit(1);
}

/* next_message waits for one; false is that the target has gone. */
static bool next_message(char *line)
{
	pthread_mutex_lock(&inbox.lock);
	while (!inbox.has && !inbox.gone)
		pthread_cond_wait(&inbox.more, &inbox.lock);
	bool has = inbox.has;
	if (has)
		strcpy(line, inbox.line);
	inbox.has = false;
	pthread_cond_broadcast(&inbox.more);
	pthread_mutex_unlock(&inbox.lock);
	return has;
}

/* ---- opening ---- */

/* runner_form is the configuration string as tcmu-runner has it, subtype/rest, for either form. */
static const char *runner_form(void) { return args.cfg[0] == '/' ? args.cfg + 1 : args.cfg; }

/* device_form is what the handler gets: as it is, or for the form with a leading slash (/subtype/rest) the rest, from its slash on. */
static const char *device_form(void)
{
	const char *rest = args.cfg[0] == '/' ? strchr(args.cfg + 1, '/') : args.cfg;
	return rest ? rest : "";
}

static void make_device(void)
{
	struct tcmu_device *d = &device;
	snprintf(d->name, sizeof d->name, "%s", args.name);
	snprintf(d->uio, sizeof d->uio, "uio0");
	if (strlen(device_form()) >= sizeof d->cfg)
		fail("the configuration string is longer than %zu bytes", sizeof d->cfg - 1);
	strcpy(d->cfg, device_form());
	d->block_size = args.block_size;
	d->num_lbas = args.size / args.block_size;
	d->max_xfer = work_slot_bytes() / 2 / args.block_size;
	d->unmap_enabled = loaded.h.unmap != NULL;
	d->lib_private = d->runner_device;
	void *self = d;
	memcpy(d->runner_device, &self, sizeof self); /* its first field is the device, in every version */
}

static void check_config(void)
{
	char *reason = NULL;
	if (loaded.h.check_config && !loaded.h.check_config(runner_form(), &reason))
		fail("the handler refuses the configuration %s: %s", args.cfg, reason ? reason : "no reason given");
	free(reason);
}

static void open_device(void)
{
	int rc = loaded.h.open(&device, false);
	if (rc != 0)
		fail("the handler cannot open %s: %s", args.cfg, rc < -1 ? strerror(-rc) : "no reason given");
	if (device.block_size == 0 || device.num_lbas == 0)
		fail("the handler has opened %s without a size; give the parameter size", args.cfg);
	device.is_open = true;
}

/* With the lock a dead predecessor is fenced off at once, instead of by a timeout at the first write. */
static void lock_device(void)
{
	if (!loaded.h.lock || !args.lock)
		return;
	int rc = loaded.h.lock(&device, LOCK_TAG_ANY);
	if (rc != TCMU_STS_OK)
		fail("the handler's lock failed with status %d", rc);
}

/* Without a lock that somebody else would have to break, a successor on another machine goes on at once. */
static void unlock_device(void)
{
	if (!loaded.h.lock || !loaded.h.unlock || !args.lock)
		return;
	int rc = loaded.h.unlock(&device);
	if (rc != TCMU_STS_OK)
		say('W', "unlock failed with status %d", rc);
}

static int worker_count(void)
{
	int most = loaded.h.nr_threads;
	if (most == 0)
		return 1;
	return args.threads > 0 && args.threads < most ? args.threads : most;
}

static void operations(char *s)
{
	const struct tcmur_handler *h = &loaded.h;
	const struct {
		char letter;
		bool has;
	} ops[] = {{'r', h->read}, {'w', h->write}, {'f', h->flush}, {'u', h->unmap}, {'s', h->writesame}, {'c', h->caw},
		{'l', h->lock}, {'g', h->reconfig}};
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
		if (ops[i].has)
			*s++ = ops[i].letter;
	*s = 0;
}

static void tell_ready(void)
{
	struct tcmu_device *d = &device;
	char ops[16];
	operations(ops);
	tell("ready size=%llu block_size=%u threads=%d nr_threads=%d write_cache=%d write_protect=%d ops=%s max_xfer=%u max_unmap=%u "
	     "unmap_gran=%u unmap_align=%u unmap=%d ssd=%d abi=%s subtype=%s",
		(unsigned long long)d->num_lbas * d->block_size, d->block_size, worker_count(), loaded.h.nr_threads, d->wce,
		d->write_protect, ops, d->max_xfer, d->max_unmap, d->unmap_gran, d->unmap_align, d->unmap_enabled && loaded.h.unmap,
		d->solid_state, loaded.abi, loaded.h.subtype);
}

/* ---- being of service ---- */

static void reconfigure(uint64_t size)
{
	struct tcmulib_cfg_info info = {.type = TCMULIB_CFG_DEV_SIZE, .data.dev_size = size};
	if (!loaded.h.reconfig) {
		tell("reconfigured %d", -EOPNOTSUPP);
		return;
	}
	work_pause();
	int rc = loaded.h.reconfig(&device, &info);
	if (rc == 0)
		device.num_lbas = size / device.block_size;
	work_resume();
	tell("reconfigured %d", rc);
}

static void serve(void)
{
	char line[sizeof inbox.line];
	unsigned long long size;
	while (next_message(line)) {
		if (strcmp(line, "stop") == 0)
			break;
		if (sscanf(line, "reconfigure %llu", &size) == 1)
			reconfigure(size);
	}
	work_stop();
	unlock_device();
	loaded.h.close(&device);
	if (loaded.h.destroy)
		loaded.h.destroy();
	tell("stopped");
	_exit(0); /* no destructors of libraries under threads that may still run */
}

static void print_escaped(FILE *f, const char *key, const char *value)
{
	fprintf(f, "%s=", key);
	for (; value && *value; value++)
		if (*value == '\n' || *value == '\\')
			fprintf(f, "\\%c", *value == '\n' ? 'n' : '\\');
		else
			fputc(*value, f);
	fputc('\n', f);
}

static int probe(FILE *out)
{
	const char *why = handler_load(args.probe, args.abi, NULL);
	if (why) {
		print_escaped(out, "error", why);
		if (!loaded.h.subtype)
			return 0;
	}
	char ops[16];
	operations(ops);
	print_escaped(out, "subtype", loaded.h.subtype);
	print_escaped(out, "name", loaded.h.name);
	print_escaped(out, "cfg_desc", loaded.h.cfg_desc);
	print_escaped(out, "abi", loaded.abi);
	print_escaped(out, "ops", ops);
	fprintf(out, "nr_threads=%d\n", loaded.h.nr_threads);
	fflush(out);
	_exit(0);
}

/* value_of is what follows KEY= in an argument, NULL if it is another key's. The arguments stay as they are, for ps. */
static const char *value_of(const char *arg, const char *key)
{
	size_t n = strlen(key);
	return strncmp(arg, key, n) == 0 && arg[n] == '=' ? arg + n + 1 : NULL;
}

static void parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *v, *a = argv[i];
		if ((v = value_of(a, "handler"))) args.handler = v;
		else if ((v = value_of(a, "probe"))) args.probe = v;
		else if ((v = value_of(a, "cfg"))) args.cfg = v;
		else if ((v = value_of(a, "name"))) args.name = v;
		else if ((v = value_of(a, "abi"))) args.abi = v;
		else if ((v = value_of(a, "size"))) args.size = strtoull(v, NULL, 10);
		else if ((v = value_of(a, "block_size"))) args.block_size = strtoul(v, NULL, 10);
		else if ((v = value_of(a, "threads"))) args.threads = atoi(v);
		else if ((v = value_of(a, "lock"))) args.lock = atoi(v);
		else {
			fprintf(stderr, "%s: usage: pollux-tcmur-helper KEY=VALUE ... (the target starts it)\n", a);
			exit(2);
		}
	}
}

static void start(void)
{
	uint32_t rings;
	pthread_t listener;
	work_map(&rings);
	if (pthread_create(&listener, NULL, listen_to_target, NULL) != 0)
		fail("start a thread: %s", strerror(errno));
	char subtype[64];
	snprintf(subtype, sizeof subtype, "%.*s", (int)strcspn(runner_form(), "/"), runner_form());
	const char *why = handler_load(args.handler, args.abi, subtype);
	if (why)
		fail("handler %s: %s", args.handler, why);
	make_device();
	check_config();
	open_device();
	lock_device();
	work_start(worker_count());
	tell_ready();
}

int main(int argc, char **argv)
{
	FILE *out = fdopen(dup(STDOUT_FILENO), "w");
	parse(argc, argv);
	dup2(STDERR_FILENO, STDOUT_FILENO); /* what a handler prints belongs to the log */
	setvbuf(stdout, NULL, _IOLBF, 0);
	confine();
	if (args.probe)
		return probe(out);
	if (!args.handler || args.block_size == 0 || args.size == 0)
		fail("handler, size and block_size are needed");
	start();
	serve();
	return 0;
}
