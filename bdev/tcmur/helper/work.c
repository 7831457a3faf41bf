/* The rings and those who work on them: nr_threads workers for a handler that blocks, one dispatcher for one that does not. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host.h"

/* slot is what the helper keeps for a slot of a ring; the handler holds pointers into it while a request is outstanding. */
struct slot {
	struct tcmur_cmd cmd;
	struct tcmulib_cmd lib;
	struct iovec iov[1], lib_iov[1];
	uint8_t cdb[16];
	struct ring *ring;
	uint32_t index;
	struct sqe e; /* a copy: what is in the region may change under us */
	atomic_bool active;
};

struct ring {
	struct ring_header *shared;
	struct sqe *sq;
	struct cqe *cq;
	_Atomic uint32_t *running;
	uint8_t *data;
	struct slot *slots;
	uint32_t head; /* of sq; under take_lock */
	uint32_t cq_tail;
	pthread_mutex_t cq_lock;
	int pipe;
};

static struct region_header *region;
static struct {
	uint32_t rings, depth, slot_bytes;
} geometry; /* as checked at the start */
static struct ring *rings;

static pthread_mutex_t take_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER; /* a callout has ended, or paused or stopping has changed */
static int waiting; /* for changed */
static bool paused, stopping;
static uint32_t next_ring;
static atomic_int outstanding;

static int workers;
static pthread_t *threads;
static struct slot **at_work; /* per worker: what it runs; under take_lock */

static uint64_t ring_bytes(uint32_t depth)
{
	uint64_t n = sizeof(struct ring_header) + depth * (sizeof(struct sqe) + sizeof(struct cqe) + sizeof(uint32_t));
	return (n + REGION_PAGE - 1) / REGION_PAGE * REGION_PAGE;
}

static void map_ring(struct ring *r, uint32_t i)
{
	uint8_t *at = (uint8_t *)region + REGION_PAGE + i * ring_bytes(geometry.depth);
	r->shared = (struct ring_header *)at;
	r->sq = (struct sqe *)(at + sizeof(struct ring_header));
	r->cq = (struct cqe *)(r->sq + geometry.depth);
	r->running = (_Atomic uint32_t *)(r->cq + geometry.depth);
	r->data = (uint8_t *)region + region->data_off + (uint64_t)i * geometry.depth * geometry.slot_bytes;
	r->slots = calloc(geometry.depth, sizeof *r->slots);
	if (!r->slots)
		fail("out of memory");
	pthread_mutex_init(&r->cq_lock, NULL);
	r->pipe = FD_PIPES + i;
	for (uint32_t j = 0; j < geometry.depth; j++) {
		r->slots[j].ring = r;
		r->slots[j].index = j;
	}
}

/* work_map maps the region and checks what its header says against its size. */
void work_map(uint32_t *count)
{
	struct stat st;
	if (fstat(FD_REGION, &st) != 0)
		fail("no region: %s", strerror(errno));
	region = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, FD_REGION, 0);
	if (region == MAP_FAILED)
		fail("map the region: %s", strerror(errno));
	close(FD_REGION);
	geometry.rings = region->rings;
	geometry.depth = region->depth;
	geometry.slot_bytes = region->slot_bytes;
	if (region->magic != REGION_MAGIC || geometry.rings == 0 || geometry.rings > RINGS_MAX || geometry.depth == 0 ||
		geometry.depth > DEPTH_MAX || geometry.slot_bytes == 0 || geometry.slot_bytes > SLOT_BYTES_MAX ||
		region->ring_stride != ring_bytes(geometry.depth) ||
		region->data_off != REGION_PAGE + geometry.rings * ring_bytes(geometry.depth) ||
		region->bytes != region->data_off + (uint64_t)geometry.rings * geometry.depth * geometry.slot_bytes ||
		region->bytes != (uint64_t)st.st_size)
		fail("the region's header is not of this version: target and helper must be built together");
	rings = calloc(geometry.rings, sizeof *rings);
	if (!rings)
		fail("out of memory");
	for (uint32_t i = 0; i < geometry.rings; i++)
		map_ring(&rings[i], i);
	*count = geometry.rings;
}

uint32_t work_slot_bytes(void) { return geometry.slot_bytes; }

/* ---- taking work ---- */

static bool is_read(const struct sqe *e) { return e->op == OP_READ; }

/* conflicts: a block is one instant, so overlapping requests do not run side by side unless both read. */
static bool conflicts(const struct sqe *e)
{
	if (workers < 2 || e->op == OP_FLUSH)
		return false;
	for (int i = 0; i < workers; i++) {
		const struct sqe *o = at_work[i] ? &at_work[i]->e : NULL;
		if (o && o->op != OP_FLUSH && !(is_read(e) && is_read(o)) && e->off < o->off + o->len && o->off < e->off + e->len)
			return true;
	}
	return false;
}

/* accept copies the next entry of r and gives it its slot. */
static struct slot *accept_entry(struct ring *r)
{
	struct sqe e = r->sq[r->head % geometry.depth];
	if (e.slot >= geometry.depth || atomic_load(&r->slots[e.slot].active))
		fail("the submission ring is damaged (slot %u)", e.slot);
	if (conflicts(&e))
		return NULL;
	struct slot *s = &r->slots[e.slot];
	s->e = e;
	atomic_store(&s->active, true);
	r->head++;
	return s;
}

static bool has_work(struct ring *r)
{
	uint32_t n = atomic_load(&r->shared->sq_tail) - r->head;
	if (n > geometry.depth)
		fail("the submission ring is damaged (%u entries of %u)", n, geometry.depth);
	return n > 0;
}

/* scan takes one request, rings in turn. *blocked says that there are requests which must wait for others to end. */
static struct slot *scan(bool *blocked)
{
	*blocked = false;
	for (uint32_t i = 0; i < geometry.rings; i++) {
		struct ring *r = &rings[next_ring];
		next_ring = (next_ring + 1) % geometry.rings;
		if (!has_work(r))
			continue;
		struct slot *s = accept_entry(r);
		if (s)
			return s;
		*blocked = true;
	}
	return NULL;
}

/* take ends what a worker had, lets those go on that waited for it, and returns the next request, or NULL if there is none now. */
static struct slot *take(int worker)
{
	struct slot *s = NULL;
	bool blocked = false;
	pthread_mutex_lock(&take_lock);
	at_work[worker] = NULL;
	if (waiting > 0)
		pthread_cond_broadcast(&changed);
	while (!stopping) {
		if (!paused && ((s = scan(&blocked)) != NULL || !blocked))
			break;
		waiting++;
		pthread_cond_wait(&changed, &take_lock);
		waiting--;
	}
	if (s)
		atomic_fetch_add(&outstanding, 1);
	at_work[worker] = s;
	pthread_mutex_unlock(&take_lock);
	return s;
}

static bool is_stopping(void)
{
	pthread_mutex_lock(&take_lock);
	bool is = stopping;
	pthread_mutex_unlock(&take_lock);
	return is;
}

static bool any_work(void)
{
	pthread_mutex_lock(&take_lock);
	bool any = stopping;
	for (uint32_t i = 0; i < geometry.rings && !any; i++)
		any = has_work(&rings[i]);
	pthread_mutex_unlock(&take_lock);
	return any;
}

/* idle sleeps until the target has submitted. The order matters: the target publishes, adds to wake_seq, reads sleepers. */
static void idle(void)
{
	uint32_t seq = atomic_load(&region->wake_seq);
	atomic_fetch_add(&region->sleepers, 1);
	if (!any_work())
		syscall(SYS_futex, &region->wake_seq, FUTEX_WAIT, seq, NULL, NULL, 0);
	atomic_fetch_sub(&region->sleepers, 1);
}

static void wake_all(void)
{
	atomic_fetch_add(&region->wake_seq, 1);
	syscall(SYS_futex, &region->wake_seq, FUTEX_WAKE, workers, NULL, NULL, 0);
}

/* ---- doing it ---- */

/* miscompare_at is where the handler says that compare-and-write found a difference, in bytes. */
static uint64_t miscompare_at(const struct slot *s)
{
	const uint8_t *b = s->lib.sense_buf;
	return b[0] & 0x80 ? (uint32_t)b[3] << 24 | b[4] << 16 | b[5] << 8 | b[6] : 0;
}

/* sense is key, ASC and ASCQ of sense data in the fixed format, for handlers that write their own. */
static uint64_t sense(const struct slot *s)
{
	const uint8_t *b = s->lib.sense_buf;
	return (uint64_t)(b[2] & 0xf) << 16 | b[12] << 8 | b[13];
}

static void complete(struct slot *s, int status)
{
	struct ring *r = s->ring;
	struct cqe c = {.slot = s->index, .gen = s->e.gen, .status = status};
	if (!atomic_exchange(&s->active, false)) {
		say('E', "the handler has completed a request twice");
		return;
	}
	if (status == TCMU_STS_MISCOMPARE)
		c.info = miscompare_at(s);
	if (status == TCMU_STS_PASSTHROUGH_ERR)
		c.info = sense(s);
	atomic_store_explicit(&r->running[s->index], 0, memory_order_relaxed);
	pthread_mutex_lock(&r->cq_lock);
	r->cq[r->cq_tail % geometry.depth] = c;
	atomic_store(&r->shared->cq_tail, ++r->cq_tail);
	pthread_mutex_unlock(&r->cq_lock);
	if (atomic_load(&r->shared->armed) && atomic_exchange(&r->shared->armed, 0)) {
		/* A full pipe is as good: the reactor has a reason to wake up. */
		if (write(r->pipe, "", 1) < 0 && errno == EBADF)
			_exit(3); /* The handler has closed what is not its own. */
	}
	atomic_fetch_sub(&outstanding, 1);
}

static void done(struct tcmu_device *dev, struct tcmur_cmd *cmd, int status)
{
	(void)dev;
	complete((struct slot *)((char *)cmd - offsetof(struct slot, cmd)), status);
}

void tcmur_cmd_complete(struct tcmu_device *dev, void *cmd, int status)
{
	((struct tcmur_cmd *)cmd)->done(dev, cmd, status);
}

/* is_sane checks an entry once more before the handler sees it: handlers check nothing, and grow files or loop. */
static bool is_sane(const struct sqe *e)
{
	uint64_t size = device.num_lbas * device.block_size, data = 0;
	switch (e->op) {
	case OP_READ: case OP_WRITE: data = e->len; break;
	case OP_CAW: data = 2 * e->len; break;
	case OP_WRITESAME: data = device.block_size; break;
	case OP_FLUSH: return e->data == 0;
	case OP_UNMAP: break;
	default: return false;
	}
	return e->len > 0 && e->len <= size && e->off <= size - e->len && (e->off | e->len) % device.block_size == 0 &&
		data == e->data && data <= geometry.slot_bytes;
}

/* For handlers that look at the command: the CDB that would have brought it. */
static void fill_cdb(struct slot *s)
{
	static const uint8_t code[] = {
		[OP_READ] = 0x88, [OP_WRITE] = 0x8a, [OP_FLUSH] = 0x91, [OP_UNMAP] = 0x42, [OP_WRITESAME] = 0x93, [OP_CAW] = 0x89};
	uint64_t lba = s->e.off / device.block_size;
	uint32_t blocks = s->e.len / device.block_size;
	memset(s->cdb, 0, sizeof s->cdb);
	s->cdb[0] = code[s->e.op];
	if (s->e.op == OP_UNMAP)
		return;
	for (int i = 0; i < 8; i++)
		s->cdb[2 + i] = lba >> (56 - 8 * i);
	for (int i = 0; i < 4; i++)
		s->cdb[10 + i] = blocks >> (24 - 8 * i);
}

static void prepare(struct slot *s)
{
	fill_cdb(s);
	s->iov[0] = (struct iovec){s->ring->data + (uint64_t)s->index * geometry.slot_bytes, s->e.data};
	s->lib_iov[0] = s->iov[0];
	memset(s->lib.sense_buf, 0, sizeof s->lib.sense_buf);
	s->lib.cmd_id = s->index;
	s->lib.cdb = s->cdb;
	s->lib.iovec = s->lib_iov;
	s->lib.iov_cnt = 1;
	s->cmd = (struct tcmur_cmd){
		.lib_cmd = &s->lib, .iovec = s->iov, .iov_cnt = 1, .iov_base_copy = s->iov[0].iov_base,
		.requested = s->e.data, .done = done};
}

static int callout(struct slot *s)
{
	const struct tcmur_handler *h = &loaded.h;
	const struct sqe *e = &s->e;
	switch (e->op) {
	case OP_READ: return h->read(&device, &s->cmd, s->iov, 1, e->len, e->off);
	case OP_WRITE: return h->write ? h->write(&device, &s->cmd, s->iov, 1, e->len, e->off) : TCMU_STS_NOT_HANDLED;
	case OP_FLUSH: return h->flush ? h->flush(&device, &s->cmd) : TCMU_STS_NOT_HANDLED;
	case OP_UNMAP: return h->unmap ? h->unmap(&device, &s->cmd, e->off, e->len) : TCMU_STS_NOT_HANDLED;
	case OP_WRITESAME: return h->writesame ? h->writesame(&device, &s->cmd, e->off, e->len, s->iov, 1) : TCMU_STS_NOT_HANDLED;
	case OP_CAW: return h->caw ? h->caw(&device, &s->cmd, e->off, e->len, s->iov, 1) : TCMU_STS_NOT_HANDLED;
	default: return TCMU_STS_INVALID_CMD;
	}
}

static void run(struct slot *s)
{
	if (!is_sane(&s->e)) {
		complete(s, TCMU_STS_RANGE);
		return;
	}
	prepare(s);
	/* The target reads it after this process has died: no order with anything else matters. */
	atomic_store_explicit(&s->ring->running[s->index], 1, memory_order_relaxed);
	int status = callout(s);
	bool queued = status == TCMU_STS_ASYNC_HANDLED || (status == TCMU_STS_OK && loaded.h.nr_threads == 0);
	if (!queued)
		complete(s, status);
}

static void *work(void *arg)
{
	int worker = (int)(intptr_t)arg;
	for (;;) {
		struct slot *s = take(worker);
		if (s) {
			run(s);
		} else if (is_stopping()) {
			return NULL;
		} else {
			idle();
		}
	}
}

void work_start(int n)
{
	workers = n;
	threads = calloc(n, sizeof *threads);
	at_work = calloc(n, sizeof *at_work);
	if (!threads || !at_work)
		fail("out of memory");
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i) != 0)
			fail("start worker %d of %d: %s", i, n, strerror(errno));
}

static void set(bool *flag, bool value)
{
	pthread_mutex_lock(&take_lock);
	*flag = value;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&take_lock);
}

static void drain(void)
{
	while (atomic_load(&outstanding) > 0)
		usleep(500);
}

void work_pause(void)
{
	set(&paused, true);
	drain();
}

void work_resume(void)
{
	set(&paused, false);
	wake_all();
}

void work_stop(void)
{
	set(&stopping, true);
	wake_all();
	for (int i = 0; i < workers; i++)
		pthread_join(threads[i], NULL);
	drain();
}
