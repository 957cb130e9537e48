// A result's `err` is thrown, its `ok` returned.
export function greet(name) {
  if (name.trim() === '') {
    throw 'the name is empty';
  }
  return `Hello, ${name}, from JavaScript!`;
}
