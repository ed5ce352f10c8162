// Two producers and two consumers over a bounded queue with a mutex and condition variables.
#include <pthread.h>
#include <stdio.h>

enum { kItems = 2000, kSlots = 8 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER;
static int queue[kSlots];
static int used, first, produced, consumed;
static long sum;

static void* produce(void* argument) {
  (void)argument;
  for (;;) {
    pthread_mutex_lock(&mutex);
    if (produced == kItems) {
      pthread_mutex_unlock(&mutex);
      return NULL;
    }
    while (used == kSlots) {
      pthread_cond_wait(&not_full, &mutex);
    }
    if (produced < kItems) {
      queue[(first + used++) % kSlots] = produced++;
    }
    pthread_cond_signal(&not_empty);
    pthread_mutex_unlock(&mutex);
  }
}

static void* consume(void* argument) {
  long* count = argument;
  for (;;) {
    pthread_mutex_lock(&mutex);
    while (used == 0 && consumed < kItems) {
      pthread_cond_wait(&not_empty, &mutex);
    }
    if (used == 0) {
      pthread_cond_broadcast(&not_empty);
      pthread_mutex_unlock(&mutex);
      return NULL;
    }
    sum += queue[first];
    first = (first + 1) % kSlots;
    --used;
    ++*count;
    if (++consumed == kItems) {
      pthread_cond_broadcast(&not_empty);
    }
    pthread_cond_signal(&not_full);
    pthread_mutex_unlock(&mutex);
  }
}

int main(void) {
  pthread_t threads[4];
  long counts[2] = {0, 0};
  pthread_create(&threads[0], NULL, produce, NULL);
  pthread_create(&threads[1], NULL, produce, NULL);
  pthread_create(&threads[2], NULL, consume, &counts[0]);
  pthread_create(&threads[3], NULL, consume, &counts[1]);
  for (int i = 0; i < 4; ++i) {
    pthread_join(threads[i], NULL);
  }
  printf("sum %ld, consumed %ld and %ld\n", sum, counts[0], counts[1]);
  return 0;
}
